//! Files cut short and files with bytes changed: nothing panics, and what still parses can be read to its end.

#[path = "support/golden.rs"]
mod golden;
#[path = "support/llama.rs"]
mod llama;
#[path = "support/walk.rs"]
mod walk;

use std::collections::BTreeSet;

use llama::llama;
use stonechat_gguf::{Error, Gguf, Section};
use walk::walk;

/// `SplitMix64`: a few lines, the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// Numbers at which arithmetic goes wrong.
const EXTREMES: [u64; 12] = [
    0,
    1,
    4,
    u32::MAX as u64,
    1 << 32,
    (1 << 42) + 1,
    1 << 61,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 31,
    u64::MAX - 7,
    u64::MAX,
];

/// Where the header of a good file ends: changes after that are not looked at by the reader.
fn header_len(bytes: &[u8]) -> usize {
    let file = Gguf::parse(bytes).unwrap();
    file.tensors().map(|tensor| tensor.offset as usize).min().unwrap_or(bytes.len())
}

/// Changes a file in one to three places of its header, walks it, and puts the bytes back. One time in eight the
/// file is cut as well. Says whether it still parsed.
fn mutate_and_walk(bytes: &mut [u8], header: usize, random: &mut Random) -> bool {
    let mut undo = Vec::new();
    for _ in 0..=random.below(3) {
        let at = random.below(header);
        let change: Vec<u8> = match random.below(5) {
            0 => vec![bytes[at] ^ (1 << random.below(8))],
            1 => vec![random.next() as u8],
            2 => EXTREMES[random.below(EXTREMES.len())].to_le_bytes().to_vec(),
            3 => (EXTREMES[random.below(EXTREMES.len())] as u32).to_le_bytes().to_vec(),
            // A piece of the file in a wrong place: keys, types and lengths that are valid elsewhere.
            _ => {
                let from = random.below(header);
                bytes[from..header.min(from + 1 + random.below(64))].to_vec()
            }
        };
        let target = &mut bytes[at..];
        let len = change.len().min(target.len());
        undo.push((at, target[..len].to_vec()));
        target[..len].copy_from_slice(&change[..len]);
    }
    let end = if random.below(8) == 0 { random.below(bytes.len()) } else { bytes.len() };
    let parsed = walk(&bytes[..end]).is_ok();
    for (at, old) in undo.into_iter().rev() {
        bytes[at..at + old.len()].copy_from_slice(&old);
    }
    parsed
}

/// How many mutations make a test: a hundred thousand, and fewer where an emulator makes each slow. What this crate
/// does is the same on every architecture.
fn mutations() -> usize {
    let emulated = cfg!(target_arch = "aarch64")
        && std::env::var_os("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER").is_some();
    if emulated { 2_000 } else { 100_000 }
}

/// Mutates each file in turn. Both ways must have been taken often for the test to mean something.
fn mutate_all(files: &mut [Vec<u8>], count: usize, random: &mut Random) {
    let headers: Vec<usize> = files.iter().map(|bytes| header_len(bytes)).collect();
    let original = files.to_vec();
    let mut parsed = 0;
    for i in 0..count {
        let i = i % original.len();
        parsed += usize::from(mutate_and_walk(&mut files[i], headers[i], random));
    }
    assert_eq!(files, original);
    assert!((count / 20..count - count / 20).contains(&parsed), "{parsed} of {count} still parsed");
}

#[test]
fn mutations_of_files_of_both_versions_and_other_alignments_never_panic() {
    let mut files = [llama(3, 32), llama(2, 32), llama(3, 8), llama(3, 256)];
    mutate_all(&mut files, mutations() / 5, &mut Random(2));
}

#[test]
fn a_hundred_thousand_mutations_of_real_files_never_panic() {
    let mut files: Vec<_> = golden::files_here().iter().map(|path| std::fs::read(path).unwrap()).collect();
    mutate_all(&mut files, mutations(), &mut Random(3));
}

#[test]
fn mutations_of_the_files_of_the_named_folder_never_panic() {
    let mut random = Random(4);
    for path in golden::files().split_off(golden::files_here().len()) {
        let mut bytes = std::fs::read(&path).unwrap();
        let header = header_len(&bytes);
        // The same time for each file, whatever the size of its vocabulary.
        for _ in 0..(20_000_000 / header).clamp(10, mutations() / 100) {
            mutate_and_walk(&mut bytes, header, &mut random);
        }
    }
}

#[test]
fn a_file_cut_anywhere_is_refused_with_the_place() {
    for version in [2, 3] {
        let bytes = llama(version, 64);
        let file = Gguf::parse(&bytes).unwrap();
        let end = file.tensors().map(|tensor| tensor.offset as usize + tensor.data.len()).max().unwrap();
        let mut sections = BTreeSet::new();
        for len in 0..end {
            sections.insert(match walk(&bytes[..len]).unwrap_err() {
                Error::Empty => "empty",
                Error::Truncated { offset, section, needed, left } => {
                    assert!(offset + left == len as u64 && left < needed);
                    match section {
                        Section::Header => "header",
                        Section::Key(_) => "key",
                        Section::Value(_) => "value",
                        Section::TensorName(_) => "tensor name",
                        Section::TensorEntry(_) => "tensor entry",
                    }
                }
                Error::TensorOutOfFile { start, len: tensor, data, file, .. } => {
                    assert_eq!(file, len as u64);
                    assert!(data + start + tensor > file);
                    "tensor data"
                }
                other => panic!("cut at {len}: {other}"),
            });
        }
        let all = ["empty", "header", "key", "value", "tensor name", "tensor entry", "tensor data"];
        assert_eq!(sections, BTreeSet::from(all));
        // Only padding is missing now.
        for len in end..=bytes.len() {
            walk(&bytes[..len]).unwrap();
        }
    }
}
