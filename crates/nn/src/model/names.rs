//! Names of layers that were given none, as Keras makes them.

use std::collections::HashSet;

/// `MaxPooling2D` → `max_pooling2d`, or `max_pooling2d_1`, … if that is taken.
pub(super) fn unused(class: &str, taken: &HashSet<&str>) -> String {
    let base = snake_case(class);
    if !taken.contains(&*base) {
        return base;
    }
    let mut number = 1;
    loop {
        let name = format!("{base}_{number}");
        if !taken.contains(&*name) {
            return name;
        }
        number += 1;
    }
}

/// An underscore goes before each capital that follows a small letter or precedes one.
fn snake_case(class: &str) -> String {
    let chars: Vec<char> = class.chars().collect();
    let mut name = String::with_capacity(class.len() + 4);
    for (i, &c) in chars.iter().enumerate() {
        let after_small = i > 0 && chars[i - 1].is_lowercase();
        let before_small = chars.get(i + 1).is_some_and(|next| next.is_lowercase());
        if i > 0 && c.is_uppercase() && (after_small || before_small) {
            name.push('_');
        }
        name.extend(c.to_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_keras() {
        for (class, name) in [
            ("Conv2D", "conv2d"),
            ("MaxPooling2D", "max_pooling2d"),
            ("AveragePooling2D", "average_pooling2d"),
            ("Dense", "dense"),
            ("LeakyReLU", "leaky_re_lu"),
            ("ELU", "elu"),
            ("GlobalAveragePooling2D", "global_average_pooling2d"),
            ("BatchNormalization", "batch_normalization"),
        ] {
            assert_eq!(unused(class, &HashSet::new()), name);
        }
        let taken = HashSet::from(["conv2d", "conv2d_1", "conv2d_3"]);
        assert_eq!(unused("Conv2D", &taken), "conv2d_2");
    }
}
