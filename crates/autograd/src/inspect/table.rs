//! The graph as a table in text.

use std::fmt;

use super::{Graph, GraphNodeKind};

/// `1536` as `1.5 K`: three significant figures with a unit in powers of `base`.
pub(super) fn with_unit(value: f64, base: f64) -> String {
    let units = ["", " K", " M", " G", " T", " P"];
    let mut scaled = value;
    let mut unit = 0;
    while scaled >= base && unit + 1 < units.len() {
        scaled /= base;
        unit += 1;
    }
    match (unit, scaled) {
        (0, _) => format!("{scaled:.0}"),
        (_, small) if small < 10.0 => format!("{small:.2}{}", units[unit]),
        (_, small) if small < 100.0 => format!("{small:.1}{}", units[unit]),
        _ => format!("{scaled:.0}{}", units[unit]),
    }
}

/// `1536` as `1.50 KB`.
pub(super) fn bytes_text(bytes: usize) -> String {
    let space = if bytes < 1024 { " " } else { "" };
    format!("{}{space}B", with_unit(bytes as f64, 1024.0))
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<[String; 6]> = self
            .nodes
            .iter()
            .enumerate()
            .map(|(index, node)| {
                let name = match node.kind {
                    GraphNodeKind::Variable => "variable",
                    GraphNodeKind::Operation => &node.name,
                    GraphNodeKind::Freed => "(freed)",
                };
                let inputs: Vec<String> = node
                    .inputs
                    .iter()
                    .map(|input| input.map_or("·".to_string(), |input| input.to_string()))
                    .collect();
                let scope = if node.scope.is_empty() {
                    ""
                } else {
                    &node.scope
                };
                [
                    index.to_string(),
                    if scope.is_empty() {
                        name.to_string()
                    } else {
                        format!("{scope} / {name}")
                    },
                    inputs.join(" "),
                    node.shape.to_string(),
                    with_unit(node.saved_bytes as f64, 1024.0),
                    with_unit(node.flops as f64, 1000.0),
                ]
            })
            .collect();
        let header = [
            "Node",
            "Operation",
            "Inputs",
            "Output",
            "Saved bytes",
            "FLOPs",
        ];
        let width: [usize; 6] = std::array::from_fn(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([header[column].len()]).max().unwrap_or(0)
        });
        let [w0, w1, w2, w3, w4, w5] = width;
        let [h0, h1, h2, h3, h4, h5] = header;
        writeln!(
            f,
            "{h0:>w0$}  {h1:<w1$}  {h2:<w2$}  {h3:<w3$}  {h4:>w4$}  {h5:>w5$}"
        )?;
        for [c0, c1, c2, c3, c4, c5] in &rows {
            writeln!(
                f,
                "{c0:>w0$}  {c1:<w1$}  {c2:<w2$}  {c3:<w3$}  {c4:>w4$}  {c5:>w5$}"
            )?;
        }
        let bytes = bytes_text(self.saved_bytes());
        let flops = with_unit(self.flops() as f64, 1000.0);
        write!(
            f,
            "{} nodes, {bytes} saved, {flops}FLOP forward",
            self.nodes.len()
        )
    }
}
