//! Aligned columns.

/// Lays out rows under a heading: columns as wide as their widest cell, two spaces between, none at the end of a line.
pub(super) fn lines<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let mut widths = heading.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let body = rows.iter().map(|row| line(row.each_ref().map(String::as_str)));
    std::iter::once(line(heading)).chain(body).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_stand_below_each_other() {
        let rows =
            [["a".to_owned(), "10.0.0.2".to_owned(), String::new()], ["longer".into(), "–".into(), "why".into()]];
        assert_eq!(
            super::lines(["POD", "IP", "WHY"], &rows),
            ["POD     IP        WHY", "a       10.0.0.2", "longer  –         why"]
        );
    }
}
