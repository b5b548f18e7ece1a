//! Philox4x32-7, a counter-based generator of random numbers.
//!
//! J. Salmon, M. Moraes, R. Dror, D. Shaw, “Parallel random numbers: as easy as 1, 2, 3”, SC 2011,
//! <https://doi.org/10.1145/2063384.2063405>. The numbers at any counter are found without those
//! before it, so any thread can make any part of the sequence. Seven rounds are the fewest that pass
//! all statistical tests in that paper.

/// Counters that are worked on side by side.
pub(super) const LANES: usize = 16;
/// Words that [`numbers`] are made of.
pub(super) const WORDS: usize = 4 * LANES;
/// Numbers of 16 bits in them.
pub(super) const GROUP: usize = 2 * WORDS;

const ROUNDS: usize = 7;
const MULTIPLIERS: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u64; 2] = [0x9E37_79B9, 0xBB67_AE85];
/// The bits of a word.
const LOW: u64 = u32::MAX as u64;

/// The numbers of group `group` of the sequence that `key` and `stream` name: its first half, and
/// its second.
///
/// Lane `i` encrypts the 128-bit counter `(group · LANES + i, stream)`; `w · LANES + i` of the group
/// is word `w` of its result, so that no lanes need be exchanged. Number `j` of the group is the
/// lower half of word `j`, number `WORDS + j` its upper half.
#[inline(always)]
pub(super) fn numbers(key: u64, stream: u64, group: u64) -> [[u32; WORDS]; 2] {
    let mut words = [[0; LANES]; 4];
    for lane in 0..LANES {
        let counter = group.wrapping_mul(LANES as u64).wrapping_add(lane as u64);
        words[0][lane] = counter;
        words[1][lane] = counter >> 32;
        words[2][lane] = stream;
        words[3][lane] = stream >> 32;
    }
    rounds(&mut words, [key & LOW, key >> 32]);
    let mut numbers = [[0; WORDS]; 2];
    for word in 0..4 {
        let start = word * LANES;
        for lane in 0..LANES {
            numbers[0][start + lane] = (words[word][lane] & 0xffff) as u32;
        }
        for lane in 0..LANES {
            numbers[1][start + lane] = (words[word][lane] as u32) >> 16;
        }
    }
    numbers
}

/// Encrypts words, each the lower half of a number of 64 bits: the instruction that multiplies two
/// words leaves the product there, and takes no notice of upper halves.
#[inline(always)]
fn rounds(words: &mut [[u64; LANES]; 4], mut key: [u64; 2]) {
    for _ in 0..ROUNDS {
        for lane in 0..LANES {
            let left = MULTIPLIERS[0] * (words[0][lane] & LOW);
            let right = MULTIPLIERS[1] * (words[2][lane] & LOW);
            words[0][lane] = (right >> 32) ^ words[1][lane] ^ key[0];
            words[1][lane] = right;
            words[2][lane] = (left >> 32) ^ words[3][lane] ^ key[1];
            words[3][lane] = left;
        }
        key = [(key[0] + WEYL[0]) & LOW, (key[1] + WEYL[1]) & LOW];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that the authors publish with their implementation (Random123).
    #[test]
    fn known_answers() {
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        let cases: [([u32; 4], [u32; 2], [u32; 4]); 3] = [
            (
                [0; 4],
                [0; 2],
                [0x5f6f_b709, 0x0d89_3f64, 0x4f12_1f81, 0x4f73_0a48],
            ),
            (
                [u32::MAX; 4],
                [u32::MAX; 2],
                [0x5207_ddc2, 0x4516_5e59, 0x4d8e_e751, 0x8c52_f662],
            ),
            (
                pi,
                [0xa409_3822, 0x299f_31d0],
                [0x4dfc_caba, 0x190a_87f0, 0xc473_62ba, 0xb6b5_242a],
            ),
        ];
        for (counter, key, expected) in cases {
            let mut words = counter.map(|word: u32| [u64::from(word); LANES]);
            rounds(&mut words, key.map(u64::from));
            let words = words.map(|lanes| lanes.map(|word| word as u32));
            assert_eq!(words, expected.map(|word| [word; LANES]));
        }
    }
}
