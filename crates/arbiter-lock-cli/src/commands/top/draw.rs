//! Draws the view.

use std::time::Instant;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Alignment;
use ratatui::style::{Modifier, Style};

use super::text::{cut, width};
use super::view::View;
use crate::commands::row::Row;

/// Draws all lines into the frame.
pub(super) fn draw(view: &mut View, frame: &mut Frame<'_>, now: Instant) {
    let area = frame.area();
    view.resize(area.width, area.height);
    view.is_overlay_drawn = true;
    let view = &*view;
    let mut canvas = Canvas {
        buffer: frame.buffer_mut(),
        width: area.width,
        next: 0,
        end: area.height,
    };
    let layout = &view.layout;
    let (plain, bold) = (Style::new(), Style::new().add_modifier(Modifier::BOLD));
    if layout.has_title {
        canvas.line(&view.title, bold);
    }
    if layout.has_state {
        canvas.line(&view.state(now), plain);
    }
    let columns = Columns::of(view, area.width);
    if layout.has_columns {
        let titles = match (&view.overlay, &view.details) {
            (None, None) => columns.line(&Row::titles(), Mark::None),
            (None, Some(_)) => "  DETAILS".to_owned(),
            (Some(_), _) => String::new(),
        };
        canvas.line(&titles, bold);
    }
    let body = canvas.next + layout.body;
    draw_body(view, &mut canvas, &columns);
    canvas.next = body;
    for message in &layout.messages {
        canvas.line(message, bold);
    }
    if layout.has_keys {
        canvas.line(&view.keys(), plain);
    }
}

fn draw_body(view: &View, canvas: &mut Canvas<'_>, columns: &Columns) {
    let body = usize::from(view.layout.body);
    let (plain, reversed) = (Style::new(), Style::new().add_modifier(Modifier::REVERSED));
    let style = |is_selected| if is_selected { reversed } else { plain };
    if let Some(lines) = view.overlay_lines(usize::from(canvas.width)) {
        for line in lines.iter().take(body) {
            canvas.line(line, plain);
        }
    } else if let Some(details) = &view.details {
        if details.read.is_none() {
            canvas.line("  reading the lock", plain);
        }
        for (line, is_selected) in details.visible(body) {
            let mark = Mark::of(is_selected).text();
            canvas.line(&format!("{mark}{line}"), style(is_selected));
        }
    } else if view.rows().len() == 0 {
        canvas.line(view.no_rows(), plain);
    } else {
        let rows = view.rows().enumerate();
        for (index, row) in rows.skip(view.cursor.first).take(body) {
            let is_selected = index == view.cursor.at;
            let line = columns.line(&row.row, Mark::of(is_selected));
            canvas.line(&line, style(is_selected));
        }
    }
}

/// The lines of a frame, from the top.
struct Canvas<'a> {
    buffer: &'a mut Buffer,
    width: u16,
    next: u16,
    end: u16,
}

impl Canvas<'_> {
    /// Draws the next line, cut to the width, with that style up to the edge.
    fn line(&mut self, text: &str, style: Style) {
        if self.next < self.end && 0 < self.width {
            let text = cut(text, usize::from(self.width));
            let rest = usize::from(self.width).saturating_sub(width(&text));
            let padding = " ".repeat(rest);
            let (x, y) = self
                .buffer
                .set_stringn(0, self.next, text, usize::MAX, style);
            self.buffer.set_stringn(x, y, padding, rest, style);
        }
        self.next = self.next.saturating_add(1);
    }
}

/// The mark of the selected row, which is visible without reversed colors.
#[derive(Clone, Copy, Debug)]
enum Mark {
    None,
    Selected,
}

impl Mark {
    const fn of(is_selected: bool) -> Self {
        match is_selected {
            true => Self::Selected,
            false => Self::None,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::None => "  ",
            Self::Selected => "> ",
        }
    }
}

/// The columns that fit, and their widths.
struct Columns {
    name: usize,
    kind: Option<usize>,
    held: Option<usize>,
    remaining: Option<usize>,
    waiting: Option<usize>,
    holder: Option<usize>,
}

impl Columns {
    const LEAST_NAME: usize = 12;
    const LEAST_HOLDER: usize = 16;

    /// Chooses the columns. Those that matter most are added first.
    fn of(view: &View, width_of_line: u16) -> Self {
        let mark = width(Mark::None.text());
        let mut rest = usize::from(width_of_line).saturating_sub(mark + Self::LEAST_NAME);
        let mut fit = |columns: usize| {
            // With the space before it. After one that does not fit, none is added.
            let fits = columns < rest;
            rest = if fits { rest - columns - 1 } else { 0 };
            fits.then_some(columns)
        };
        let waiting = fit(7);
        let held = fit(8);
        let holder = fit(Self::LEAST_HOLDER);
        let remaining = fit(9);
        let kinds = view.rows().map(|row| row.row.kind.len());
        let kind = fit(kinds.max().unwrap_or_default().clamp(4, 14));
        // The rest is for the name as far as that needs it, and then for the holder.
        let longest = view.rows().map(|row| width(&row.row.name)).max();
        let wanted = longest.unwrap_or_default().saturating_sub(Self::LEAST_NAME);
        let fixed = [waiting, held, holder, remaining, kind];
        let used: usize = fixed.into_iter().flatten().map(|columns| columns + 1).sum();
        let rest = usize::from(width_of_line).saturating_sub(mark + used);
        let more = rest.saturating_sub(Self::LEAST_NAME);
        let more = match holder {
            Some(_) => wanted.min(more - more / 3),
            None => more,
        };
        let name = rest.min(Self::LEAST_NAME + more);
        Self {
            name,
            kind,
            held,
            remaining,
            waiting,
            holder: holder.map(|columns| columns + (rest - name)),
        }
    }

    /// Returns a row as a line.
    fn line(&self, row: &Row, mark: Mark) -> String {
        let left = Alignment::Left;
        let right = Alignment::Right;
        let columns = [
            (Some(self.name), &row.name, left),
            (self.kind, &row.kind, left),
            (self.held, &row.held, right),
            (self.remaining, &row.remaining, right),
            (self.waiting, &row.waiting, right),
            (self.holder, &row.holder, left),
        ];
        let cells = columns
            .into_iter()
            .filter_map(|(columns, text, side)| Some(padded(text, columns?, side)));
        mark.text().to_owned() + &cells.collect::<Vec<_>>().join(" ")
    }
}

/// Returns the text in exactly that many columns.
fn padded(text: &str, columns: usize, side: Alignment) -> String {
    let text = cut(text, columns);
    let padding = " ".repeat(columns.saturating_sub(width(&text)));
    match side {
        Alignment::Right => padding + &text,
        _ => text + &padding,
    }
}
