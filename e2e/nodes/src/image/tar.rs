//! Tape archives (POSIX ustar), the same bytes for the same content.

/// An archive being written.
#[derive(Default)]
pub(super) struct Tar(Vec<u8>);

const BLOCK: usize = 512;

impl Tar {
    pub(super) fn file(&mut self, name: &str, content: &[u8], mode: u32) {
        self.entry(name, mode, b'0', content.len(), "");
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
    }

    pub(super) fn folder(&mut self, name: &str) {
        self.entry(&format!("{name}/"), 0o755, b'5', 0, "");
    }

    pub(super) fn link(&mut self, name: &str, to: &str) {
        self.entry(name, 0o777, b'2', 0, to);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }

    /// Names here are short, owner and time are zero.
    fn entry(&mut self, name: &str, mode: u32, kind: u8, size: usize, to: &str) {
        let mut header = [0; BLOCK];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{size:011o}"));
        put(136, "00000000000");
        // The sum is taken with blanks in its own place.
        put(148, "        ");
        put(157, to);
        put(257, "ustar");
        put(263, "00");
        header[156] = kind;
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.0.extend(header);
    }
}
