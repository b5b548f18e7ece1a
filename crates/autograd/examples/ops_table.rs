//! Prints the table of operations that `docs/ops.md` holds.

fn main() {
    print!("{}", autograd::operations_table());
}
