//! Philox4x32-10, a counter-based generator of random numbers.
//!
//! J. Salmon, M. Moraes, R. Dror, D. Shaw, “Parallel random numbers: as easy as 1, 2, 3”, SC 2011,
//! <https://doi.org/10.1145/2063384.2063405>. The numbers at any counter are found without those
//! before it, so any thread can make any part of the sequence.

/// Counters that are worked on side by side, one in each lane.
pub(super) const LANES: usize = 16;
/// Numbers that [`numbers`] makes at once.
pub(super) const GROUP: usize = 4 * LANES;

const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Group number `group` of the sequence that `key` and `stream` name.
///
/// Lane `i` encrypts the 128-bit counter `(group · LANES + i, stream)`; number `w · LANES + i` of
/// the group is word `w` of its result, so that no lanes need be exchanged.
#[inline(always)]
pub(super) fn numbers(key: u64, stream: u64, group: u64) -> [u32; GROUP] {
    let mut words = [[0_u32; LANES]; 4];
    for lane in 0..LANES {
        let counter = group.wrapping_mul(LANES as u64).wrapping_add(lane as u64);
        words[0][lane] = counter as u32;
        words[1][lane] = (counter >> 32) as u32;
        words[2][lane] = stream as u32;
        words[3][lane] = (stream >> 32) as u32;
    }
    rounds(&mut words, [key as u32, (key >> 32) as u32]);
    let mut numbers = [0; GROUP];
    for (numbers, words) in numbers.chunks_exact_mut(LANES).zip(&words) {
        numbers.copy_from_slice(words);
    }
    numbers
}

#[inline(always)]
fn rounds(words: &mut [[u32; LANES]; 4], mut key: [u32; 2]) {
    for _ in 0..ROUNDS {
        for lane in 0..LANES {
            let [a, b, c, d] = [0, 1, 2, 3].map(|word| words[word][lane]);
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
                [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8],
            ),
            (
                [u32::MAX; 4],
                [u32::MAX; 2],
                [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd],
            ),
            (
                pi,
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in cases {
            let mut words = counter.map(|word| [word; LANES]);
            rounds(&mut words, key);
            assert_eq!(words, expected.map(|word| [word; LANES]));
        }
    }
}
