//! Tables of text.

/// What the columns after the first hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cells {
    /// Words, which begin below each other.
    Texts,
    /// Numbers, which end below each other.
    Numbers,
}

/// Lines with columns of equal width.
pub(super) fn render<const N: usize>(rows: &[[String; N]], cells: Cells) -> String {
    let width = |column: usize| {
        let lengths = rows.iter().map(|row| row[column].chars().count());
        lengths.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let line: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| match (column, cells) {
                (0, _) | (_, Cells::Texts) => format!("{cell:<width$}"),
                (_, Cells::Numbers) => format!("{cell:>width$}"),
            })
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}
