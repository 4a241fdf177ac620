//! How an input becomes another: a few random changes, among them those that break parsers.

/// Longest input, in bytes.
const LONGEST: usize = 64 * 1024;
/// Most changes to one input.
const MOST_CHANGES: u64 = 6;
/// Most times a piece is repeated: deep nesting and long lines.
const MOST_REPEATS: u64 = 400;
/// Bytes and words that parsers stumble over.
const ODD: [&[u8]; 24] = [
    b"\0",
    b"\r\n",
    b"\n",
    b"\r",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x93\xa6",
    b"-1",
    b"0",
    b"4294967295",
    b"4294967296",
    b"18446744073709551615",
    b"18446744073709551616",
    b"1e999",
    b"{",
    b"}",
    b"\"",
    b"\\",
    b"<",
    b">",
    b"&",
    b"=?utf-8?B?",
    b"%00",
];

/// A source of changes.
pub(crate) struct Mutator {
    state: u64,
    words: Vec<Vec<u8>>,
}

impl Mutator {
    /// The words of the seeds are put into other places.
    pub(crate) fn new(chance: u64, seeds: &[Vec<u8>]) -> Self {
        let mut words: Vec<Vec<u8>> = seeds
            .iter()
            .flat_map(|seed| seed.split_inclusive(|byte| !byte.is_ascii_alphanumeric()))
            .filter(|word| word.len() > 1 && word.len() < 60)
            .map(<[u8]>::to_vec)
            .collect();
        words.sort();
        words.dedup();
        words.extend(ODD.map(<[u8]>::to_vec));
        Self { state: chance | 1, words }
    }

    /// Xorshift (Marsaglia 2003): good enough to choose.
    fn below(&mut self, end: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % end.max(1)
    }

    fn place(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    fn piece(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let begin = self.place(bytes.len() + 1);
        let longest = (bytes.len() - begin).min(1 << self.below(10));
        begin..begin + self.place(longest + 1)
    }

    /// Another input, made of one of these.
    pub(crate) fn next(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        // What was found last leads on more often.
        let newest = inputs.len().min(8);
        let chosen = match self.below(3) {
            0 => inputs.len() - 1 - self.place(newest),
            _ => self.place(inputs.len()),
        };
        let mut bytes = inputs[chosen].clone();
        for _ in 0..=self.below(MOST_CHANGES) {
            self.change(&mut bytes, inputs);
        }
        bytes.truncate(LONGEST);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let at = self.place(bytes.len() + 1);
        match self.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = u8::try_from(self.below(256)).unwrap_or(0),
            2 => {
                let piece = self.piece(bytes);
                bytes.drain(piece);
            }
            3 => bytes.truncate(at),
            4 | 5 => {
                let word = self.place(self.words.len());
                let word = self.words[word].clone();
                bytes.splice(at..at, word);
            }
            6 => {
                let piece = self.piece(bytes);
                let piece = bytes[piece].to_vec();
                let most = (LONGEST / (piece.len() + 1)) as u64;
                let power = self.below(9);
                let times = self.below(1 << power).min(MOST_REPEATS).min(most);
                bytes.splice(at..at, piece.repeat(usize::try_from(times).unwrap_or(1)));
            }
            7 => {
                let other = self.place(inputs.len());
                let piece = self.piece(&inputs[other]);
                let piece = inputs[other][piece].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let other = self.place(inputs.len());
                let from = self.place(inputs[other].len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&inputs[other][from..]);
            }
        }
    }
}
