//! What the fuzzer found worth keeping, and mutants of it, without the fuzzer.
//!
//! In:    the files under `corpus/`; `FUZZ_INPUT=target/file` for one input of any place
//! Out:   the input that fails, as a file and in words
//! Owns:  a fixed seed: two runs do the same
//! Never: needs libFuzzer, a nightly compiler, time

use std::panic::{catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

/// Mutants of each corpus.
const MUTANTS: u64 = 3000;

/// Bytes of a mutant.
const LEN_MAX: usize = 4096;

struct Target {
    name: &'static str,
    run: fn(&[u8]),
    describe: fn(&[u8]) -> String,
}

const FRAMES: Target = Target {
    name: "frames",
    run: xlb_fuzz::frames::run,
    describe: |data| format!("{} bytes: {data:02x?}", data.len()),
};

const SEGMENTS: Target = Target {
    name: "segments",
    run: xlb_fuzz::segments::run,
    describe: xlb_fuzz::segments::describe,
};

const SNAPSHOT: Target = Target {
    name: "snapshot",
    run: xlb_fuzz::snapshot::run,
    describe: xlb_fuzz::snapshot::describe,
};

impl Target {
    fn try_input(&self, data: &[u8], name: &str) {
        if let Err(cause) = catch_unwind(|| (self.run)(data)) {
            let path = std::env::temp_dir().join(format!("xlb-fuzz-{}-failed", self.name));
            eprintln!("{}\n{name} fails", (self.describe)(data));
            if std::fs::write(&path, data).is_ok() {
                let path = path.display();
                eprintln!("to repeat it: FUZZ_INPUT={path} cargo test -p xlb-fuzz {}", self.name);
            }
            resume_unwind(cause);
        }
    }

    /// The files of the corpus, in the order of their names.
    fn corpus(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name);
        let entries = std::fs::read_dir(&folder).expect("a corpus");
        let mut paths: Vec<PathBuf> =
            entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        assert!(paths.len() >= 20, "{}: only {} inputs", folder.display(), paths.len());
        let read = |path: PathBuf| (path.clone(), std::fs::read(path).expect("an input"));
        paths.into_iter().map(read).collect()
    }

    fn replay(&self) {
        if let Some(path) = std::env::var_os("FUZZ_INPUT") {
            self.try_input(&std::fs::read(&path).expect("FUZZ_INPUT"), "FUZZ_INPUT");
            return;
        }
        let corpus = self.corpus();
        for (path, data) in &corpus {
            self.try_input(data, &path.display().to_string());
        }
        let mut random = Random(0x9e37_79b9);
        for mutant in 0..MUTANTS {
            let data = random.mutant(&corpus);
            self.try_input(&data, &format!("mutant {mutant}"));
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }

    /// The head of one input, the tail of another, and some bytes of it changed, doubled or gone.
    fn mutant(&mut self, corpus: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
        let [head, tail] = [(); 2].map(|()| &corpus[self.below(corpus.len())].1);
        let mut data = head[..self.below(head.len() + 1)].to_vec();
        data.extend(&tail[self.below(tail.len() + 1)..]);
        data.truncate(LEN_MAX);
        for _ in 0..1 + self.below(12) {
            let at = self.below(data.len() + 1);
            let until = (at + 1 + self.below(16)).min(data.len());
            match self.below(6) {
                0 => data.truncate(data.len() - until.saturating_sub(at)),
                1 if at < until => {
                    let piece = data[at..until].to_vec();
                    data.splice(at..at, piece);
                }
                _ if at < data.len() => data[at] = self.below(256) as u8,
                _ => data.push(self.below(256) as u8),
            }
        }
        data
    }
}

#[test]
fn frames() {
    FRAMES.replay();
}

#[test]
fn segments() {
    SEGMENTS.replay();
}

#[test]
fn snapshot() {
    SNAPSHOT.replay();
}
