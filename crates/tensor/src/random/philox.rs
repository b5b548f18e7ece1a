//! Philox4x32-7, a counter-based generator of random numbers.
//!
//! J. Salmon, M. Moraes, R. Dror, D. Shaw, “Parallel random numbers: as easy as 1, 2, 3”, SC 2011,
//! <https://doi.org/10.1145/2063384.2063405>. The numbers at any counter are found without those
//! before it, so any thread can make any part of the sequence. Seven rounds are the fewest that pass
//! all statistical tests in that paper.

/// Counters that are worked on side by side, one in each lane.
pub(super) const LANES: usize = 16;
/// Words that [`words`] makes at once.
pub(super) const WORDS: usize = 4 * LANES;
/// Numbers of 16 bits in them.
pub(super) const GROUP: usize = 2 * WORDS;

const ROUNDS: usize = 7;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Group number `group` of the sequence that `key` and `stream` name.
///
/// Lane `i` encrypts the 128-bit counter `(group · LANES + i, stream)`; `w · LANES + i` of the group
/// is word `w` of its result, so that no lanes need be exchanged. Number `j` of the group is the
/// lower half of word `j`, number `WORDS + j` its upper half.
#[inline(always)]
pub(super) fn words(key: u64, stream: u64, group: u64) -> [u32; WORDS] {
    let mut words = [[0_u32; LANES]; 4];
    for lane in 0..LANES {
        let counter = group.wrapping_mul(LANES as u64).wrapping_add(lane as u64);
        words[0][lane] = counter as u32;
        words[1][lane] = (counter >> 32) as u32;
        words[2][lane] = stream as u32;
        words[3][lane] = (stream >> 32) as u32;
    }
    rounds(&mut words, [key as u32, (key >> 32) as u32]);
    let mut flat = [0; WORDS];
    for word in 0..4 {
        flat[word * LANES..][..LANES].copy_from_slice(&words[word]);
    }
    flat
}

#[inline(always)]
fn rounds(words: &mut [[u32; LANES]; 4], mut key: [u32; 2]) {
    for _ in 0..ROUNDS {
        for lane in 0..LANES {
            let [a, b, c, d] = [
                words[0][lane],
                words[1][lane],
                words[2][lane],
                words[3][lane],
            ];
            let left = u64::from(MULTIPLIERS[0]) * u64::from(a);
            let right = u64::from(MULTIPLIERS[1]) * u64::from(c);
            words[0][lane] = (right >> 32) as u32 ^ b ^ key[0];
            words[1][lane] = right as u32;
            words[2][lane] = (left >> 32) as u32 ^ d ^ key[1];
            words[3][lane] = left as u32;
        }
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
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
            let mut words = counter.map(|word| [word; LANES]);
            rounds(&mut words, key);
            assert_eq!(words, expected.map(|word| [word; LANES]));
        }
    }
}
