//! Sets of distinct codes.
//!
//! Comes in: selected rows with their groups. Goes out: the sorted pairs of group and code that occur. Nothing fails.
//!
//! While groups times dictionary is small, a bitmap a group; then a hash set of pairs.

use hashbrown::HashSet;

use super::column::Codes;

/// Words of bitmaps that stay about within a core's cache.
const MAX_WORDS: usize = 1 << 18;

/// Distinct codes of one aggregate.
pub(super) struct Distinct<'a> {
    codes: Codes<'a>,
    set: Set,
}

enum Set {
    /// `stride` words a group.
    Bitmap { stride: usize, words: Vec<u64> },
    /// `group << 32 | code`.
    Pairs(HashSet<u64>),
}

impl<'a> Distinct<'a> {
    pub fn new(codes: Codes<'a>) -> Self {
        let stride = codes.cardinality as usize / 64 + 1;
        Self { codes, set: Set::Bitmap { stride, words: Vec::new() } }
    }

    pub fn update(&mut self, rows: &[u32], groups: &[u32], group_count: usize) {
        if let Set::Bitmap { stride, words } = &mut self.set {
            if group_count * *stride <= MAX_WORDS {
                words.resize(group_count * *stride, 0);
                let (codes, words, stride) = (self.codes.codes, words.as_mut_slice(), *stride);
                for (&row, &group) in rows.iter().zip(groups) {
                    let code = codes[row as usize];
                    // NULL's code has a bit too, which the end leaves out: cheaper than a branch.
                    words[group as usize * stride + (code >> 6) as usize] |= 1 << (code & 63);
                }
                return;
            }
            let pairs = bitmap_pairs(*stride, words, self.codes.cardinality);
            self.set = Set::Pairs(pairs.map(|(group, code)| pack(group, code)).collect());
        }
        if let Set::Pairs(pairs) = &mut self.set {
            for (&row, &group) in rows.iter().zip(groups) {
                let code = self.codes.codes[row as usize];
                if code != self.codes.cardinality {
                    pairs.insert(pack(group, code));
                }
            }
        }
    }

    pub fn finish(self) -> Vec<(u32, u32)> {
        match self.set {
            Set::Bitmap { stride, words } => bitmap_pairs(stride, &words, self.codes.cardinality).collect(),
            Set::Pairs(pairs) => {
                let mut pairs: Vec<u64> = pairs.into_iter().collect();
                pairs.sort_unstable();
                pairs.into_iter().map(|pair| ((pair >> 32) as u32, pair as u32)).collect()
            }
        }
    }
}

fn pack(group: u32, code: u32) -> u64 {
    u64::from(group) << 32 | u64::from(code)
}

/// The pairs of a bitmap in order, without NULL's.
fn bitmap_pairs(stride: usize, words: &[u64], null: u32) -> impl Iterator<Item = (u32, u32)> {
    (0u32..).zip(words.chunks(stride)).flat_map(move |(group, words)| {
        (0u32..).zip(words).flat_map(move |(index, &word)| {
            let bits =
                std::iter::successors((word != 0).then_some(word), |rest| Some(rest & (rest - 1)).filter(|&r| r != 0));
            bits.map(move |rest| (group, index << 6 | rest.trailing_zeros())).filter(move |&(_, code)| code != null)
        })
    })
}
