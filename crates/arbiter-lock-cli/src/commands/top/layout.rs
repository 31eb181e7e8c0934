//! Which lines the view has in a terminal of some height.

/// The lines of the view, from the top: title, state, titles of columns, body, messages, keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) width: u16,
    pub(super) height: u16,
    pub(super) has_title: bool,
    pub(super) has_state: bool,
    pub(super) has_columns: bool,
    pub(super) has_keys: bool,
    /// The height of the body.
    pub(super) body: u16,
    pub(super) messages: Vec<String>,
}

impl Layout {
    /// Divides the height. The body has at least a line, and at least half of the rest.
    pub(super) fn divide(&mut self, messages: Vec<String>) {
        let height = self.height;
        self.has_title = 8 <= height;
        self.has_keys = 6 <= height;
        self.has_columns = 4 <= height;
        self.has_state = 2 <= height;
        let flags = [
            self.has_title,
            self.has_state,
            self.has_columns,
            self.has_keys,
        ];
        let rest = height - flags.map(u16::from).iter().sum::<u16>();
        self.messages = messages;
        self.messages.truncate(usize::from(rest / 2));
        // At most half of the height.
        self.body = rest - self.messages.len() as u16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_height_has_a_body() {
        for height in 1..100 {
            for count in [0, 1, 5, 200] {
                let mut layout = Layout {
                    height,
                    ..Layout::default()
                };
                layout.divide(vec!["x".to_owned(); count]);
                assert!(0 < layout.body, "{layout:?}");
                assert!(count == 0 || height < 3 || !layout.messages.is_empty());
            }
        }
    }
}
