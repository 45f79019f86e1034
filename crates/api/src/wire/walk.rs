//! One pass over a large JSON document that also tells where its values stand.
//!
//! serde gives a value or its text, not both: to keep the text of a list's items costs a second pass over them. Here serde reads
//! the values one by one, and what stands between them is read by hand.

use serde::Deserialize;

use super::Text;

/// A place in a document. None from any of its methods means: not what was expected. Whoever wants to know why reads it with serde.
pub(crate) struct Walk<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Walk<'a> {
    /// The start of a document.
    pub(crate) fn new(text: &'a str) -> Self {
        Walk { text, at: 0 }
    }

    /// Reads the value that stands here; with its text.
    pub(crate) fn value<T: Deserialize<'a>>(&mut self) -> Option<(T, &'a str)> {
        self.skip_space();
        let rest = self.text.get(self.at..)?;
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<T>();
        let value = values.next()?.ok()?;
        let end = values.byte_offset();
        self.at += end;
        Some((value, rest.get(..end)?))
    }

    /// Goes through an object: at every member's value `member` is called with the name, and has to read the value.
    pub(crate) fn members(&mut self, mut member: impl FnMut(&mut Self, &str) -> Option<()>) -> Option<()> {
        self.eat(b'{')?;
        if self.eat(b'}').is_some() {
            return Some(());
        }
        loop {
            let (name, _) = self.value::<Text<'a>>()?;
            self.eat(b':')?;
            member(self, &name.0)?;
            if self.eat(b',').is_none() {
                return self.eat(b'}');
            }
        }
    }

    /// Goes through a list: at every item `item` is called, and has to read it.
    pub(crate) fn items(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.eat(b'[')?;
        if self.eat(b']').is_some() {
            return Some(());
        }
        loop {
            item(self)?;
            if self.eat(b',').is_none() {
                return self.eat(b']');
            }
        }
    }

    /// Whether `null` stands here, which is then read.
    pub(crate) fn null(&mut self) -> bool {
        self.skip_space();
        let null = self.text.get(self.at..).is_some_and(|rest| rest.starts_with("null"));
        self.at += if null { "null".len() } else { 0 };
        null
    }

    /// Nothing follows.
    pub(crate) fn end(mut self) -> Option<()> {
        self.skip_space();
        (self.at == self.text.len()).then_some(())
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        self.skip_space();
        let found = self.text.as_bytes().get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found.then_some(())
    }

    fn skip_space(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\t' | b'\r')).count();
    }
}
