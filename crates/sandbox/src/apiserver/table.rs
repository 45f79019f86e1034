//! Objects as tables, the form in which kubectl asks for what it prints.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    columns,
    form::metadata_only,
    jsonpath,
    object::{self, Object, text},
    resource::Resource,
};

/// A column: its header, OpenAPI type, format, and priority (1 is shown by `-o wide` only).
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) format: String,
    pub(super) description: String,
    pub(super) priority: i64,
}

impl Column {
    pub(super) fn new(name: &str, kind: &str, priority: i64) -> Self {
        Self {
            name: name.into(),
            kind: kind.into(),
            format: if name == "Name" { "name" } else { "" }.into(),
            description: String::new(),
            priority,
        }
    }

    fn to_json(&self) -> Value {
        json!({"name": self.name, "type": self.kind, "format": self.format,
            "description": self.description, "priority": self.priority})
    }
}

/// How a table is asked for.
pub(super) struct Style<'a> {
    /// `v1` or `v1beta1`.
    pub(super) version: &'a str,
    /// What of each object goes with its row: `None`, `Metadata` or `Object`.
    pub(super) include: &'a str,
    pub(super) headers: bool,
    pub(super) now: Timestamp,
}

pub(super) fn render(resource: &Resource, items: &[Object], meta: Value, style: &Style<'_>) -> Value {
    let columns = columns_of(resource);
    let rows: Vec<Value> = items
        .iter()
        .map(|object| {
            let cells = match resource.custom() {
                Some(custom) => custom_cells(object, &custom.columns, style.now),
                None => columns::cells(&resource.kind, object, style.now),
            };
            let with = match style.include {
                "None" => Value::Null,
                "Object" => (**object).clone(),
                _ => metadata_only(object, style.version),
            };
            json!({"cells": cells, "object": with})
        })
        .collect();
    let headers: Vec<Value> = if style.headers { columns.iter().map(Column::to_json).collect() } else { Vec::new() };
    let version = if style.version.is_empty() { "v1" } else { style.version };
    json!({"kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": meta,
        "columnDefinitions": headers, "rows": rows})
}

fn columns_of(resource: &Resource) -> Vec<Column> {
    let Some(custom) = resource.custom() else {
        return columns::headers(&resource.kind);
    };
    let mut columns = vec![Column::new("Name", "string", 0)];
    if custom.columns.is_empty() {
        columns.push(Column::new("Age", "date", 0));
    }
    columns.extend(custom.columns.iter().map(|c| Column {
        name: text(c, "/name").into(),
        kind: text(c, "/type").into(),
        format: text(c, "/format").into(),
        description: text(c, "/description").into(),
        priority: object::int(c, "/priority").unwrap_or(0),
    }));
    columns
}

fn custom_cells(object: &Value, columns: &[Value], now: Timestamp) -> Vec<Value> {
    let mut cells = vec![object["metadata"]["name"].clone()];
    if columns.is_empty() {
        cells.push(age(object, now));
    }
    for column in columns {
        let found = jsonpath::find(object, text(column, "/jsonPath"));
        let cell = match (text(column, "/type"), found.first()) {
            (_, None) => Value::Null,
            ("date", Some(value)) => since(value.as_str().unwrap_or_default(), now),
            ("string", Some(_)) => {
                let texts: Vec<String> =
                    found.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), Into::into)).collect();
                texts.join(" ").into()
            }
            (_, Some(value)) => (*value).clone(),
        };
        cells.push(cell);
    }
    cells
}

/// How long ago the object was made.
pub(super) fn age(object: &Value, now: Timestamp) -> Value {
    since(text(object, "/metadata/creationTimestamp"), now)
}

pub(super) fn since(time: &str, now: Timestamp) -> Value {
    match time.parse::<Timestamp>() {
        Ok(time) => human(now.as_second() - time.as_second()).into(),
        Err(_) => "<unknown>".into(),
    }
}

/// Seconds as kubectl writes them.
pub(super) fn human(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let two = |big: i64, small: i64, units: [&str; 2]| {
        let rest = seconds % big / small;
        if rest == 0 {
            format!("{}{}", seconds / big, units[0])
        } else {
            format!("{}{}{rest}{}", seconds / big, units[0], units[1])
        }
    };
    match seconds {
        ..-1 => "<invalid>".into(),
        -1..=0 => "0s".into(),
        s if s < 2 * MINUTE => format!("{s}s"),
        s if s < 10 * MINUTE => two(MINUTE, 1, ["m", "s"]),
        s if s < 3 * HOUR => format!("{}m", s / MINUTE),
        s if s < 8 * HOUR => two(HOUR, MINUTE, ["h", "m"]),
        s if s < 2 * DAY => format!("{}h", s / HOUR),
        s if s < 8 * DAY => two(DAY, HOUR, ["d", "h"]),
        s if s < 2 * YEAR => format!("{}d", s / DAY),
        s if s < 8 * YEAR => two(YEAR, DAY, ["y", "d"]),
        s => format!("{}y", s / YEAR),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn durations() {
        let cases = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (3599, "59m"),
            (3 * 3600 + 60, "3h1m"),
            (9 * 3600, "9h"),
            (49 * 3600, "2d1h"),
            (30 * 86400, "30d"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(super::human(seconds), expected);
        }
    }
}
