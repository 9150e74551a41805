//! A digest of everything that passes between a shard and its io, in order: two runs of one seed
//! must have the same.

/// See the module. Lives once per shard.
#[derive(Debug)]
pub(crate) struct Trace {
    digest: u64,
    /// Prefix of the lines that are printed, where they are.
    pub(crate) shown: Option<usize>,
}

impl Trace {
    pub(crate) fn new(shown: Option<usize>) -> Self {
        Self { digest: 0x6a09_e667_f3bc_c908, shown }
    }

    /// Takes one step in.
    pub(crate) fn note(&mut self, what: &'static str, numbers: [u64; 3]) {
        self.mix(what.len() as u64);
        numbers.iter().for_each(|&number| self.mix(number));
        if let Some(shard) = self.shown {
            let [first, second, third] = numbers;
            eprintln!("shard {shard}: {what} {first} {second} {third}");
        }
    }

    /// Takes bytes in.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        rest.iter().for_each(|&byte| self.mix(u64::from(byte)));
        if let Some(shard) = self.shown {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]);
            eprintln!("shard {shard}:   {text:?}");
        }
    }

    pub(crate) fn mix(&mut self, word: u64) {
        let mixed = (self.digest.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.digest = mixed ^ (mixed >> 29);
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }
}
