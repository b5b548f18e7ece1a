//! The data set that the examples embed.

use nn::data::ImageSet;
use nn::data::npz::Npz;

const DIGITS: &[u8] = include_bytes!("../../../examples/data/digits.npz");

#[test]
fn the_digits_are_whole() {
    let mut archive = Npz::from_bytes(DIGITS).unwrap();
    let digits = ImageSet::from_npz(&mut archive).unwrap();
    assert_eq!(*digits.images.shape(), [5000, 28, 28, 1]);
    assert_eq!(digits.classes.len(), 10);
    assert!(
        digits
            .labels
            .iter()
            .enumerate()
            .all(|(i, label)| label == i as i64 / 500)
    );
    // Computed by NumPy: the sum of all pixels, and that of each image times its number from 1.
    let mut sums = (0, 0);
    for (i, pixel) in digits.images.iter().enumerate() {
        sums.0 += i64::from(pixel);
        sums.1 += i64::from(pixel) * (i as i64 / 784 + 1);
    }
    assert_eq!(sums, (131_267_102, 324_053_605_033));

    let (train, test) = digits.split(0.2, 42).unwrap();
    assert_eq!((train.len(), test.len()), (4000, 1000));
    for class in 0..10 {
        assert!(test.labels.iter().filter(|&label| label == class).count() > 70);
    }
}
