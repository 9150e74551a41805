//! Pieces of the page: escaped text, figures, tables that fold on a phone.

use std::fmt::Write as _;

use crate::load::results::text::cut;

/// Longest text that a page quotes, bytes: a plan, a scenario.
const QUOTE_MAX: usize = 64 << 10;

/// Text as it stands in elements and attributes. What is no text is a blank.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' => safe.push('\n'),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

/// A section with a heading; nothing without content.
pub(super) fn section(heading: &str, content: &str) -> String {
    match content.is_empty() {
        true => String::new(),
        false => format!("<section><h2>{}</h2>{content}</section>\n", escaped(heading)),
    }
}

/// One figure of the head: a name, a value, and what belongs to it.
pub(super) fn figure(name: &str, value: &str, note: &str) -> String {
    let (name, value, note) = (escaped(name), escaped(value), escaped(note));
    format!("<div class=\"figure\"><b>{value}</b><span>{name}</span><small>{note}</small></div>\n")
}

/// A drawn plot with its heading, the names of its lines, and a remark.
pub(super) fn plot(heading: &str, legend: &[(&str, &str)], remark: &str, svg: &str) -> String {
    let mut text = format!("<figure><figcaption><b>{}</b>", escaped(heading));
    for (class, name) in legend {
        let name = escaped(name);
        write!(text, " <span class=\"key\"><i class=\"{class}\"></i>{name}</span>")
            .expect("memory");
    }
    if !remark.is_empty() {
        write!(text, "<small>{}</small>", escaped(remark)).expect("memory");
    }
    writeln!(text, "</figcaption>{svg}</figure>").expect("memory");
    text
}

/// A table; on a narrow page each row is a card, whose cells carry their columns' names.
pub(crate) fn table(columns: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut text = String::from("<table><thead><tr>");
    columns.iter().for_each(|c| write!(text, "<th>{}</th>", escaped(c)).expect("memory"));
    text.push_str("</tr></thead><tbody>\n");
    for row in rows {
        text.push_str("<tr>");
        for (column, cell) in columns.iter().zip(row) {
            let (column, cell) = (escaped(column), escaped(cell));
            write!(text, "<td data-name=\"{column}\">{cell}</td>").expect("memory");
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody></table>\n");
    text
}

/// Names and values.
pub(super) fn list(pairs: &[(String, String)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        let (name, value) = (escaped(name), escaped(value));
        writeln!(text, "<dt>{name}</dt><dd>{value}</dd>").expect("memory");
    }
    if text.is_empty() { text } else { format!("<dl>{text}</dl>\n") }
}

/// A longer text that is folded away.
pub(super) fn folded(name: &str, text: &str) -> String {
    let shown = cut(text, QUOTE_MAX);
    let rest = if shown.len() < text.len() { "\n… (cut)" } else { "" };
    let (name, shown) = (escaped(name), escaped(shown));
    format!("<details><summary>{name}</summary><pre>{shown}{rest}</pre></details>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_quoted_becomes_markup() {
        let evil = "</pre><script>alert('1')</script>&\" \u{0}\u{1b}";
        let safe = "&lt;/pre&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;   ";
        assert_eq!(escaped(evil), safe);
        let pages = [
            section(evil, "x"),
            figure(evil, evil, evil),
            plot(evil, &[("c0", evil)], evil, ""),
            table(&[evil], &[vec![evil.to_owned()]]),
            list(&[(evil.to_owned(), evil.to_owned())]),
            folded(evil, evil),
        ];
        assert!(pages.iter().all(|page| !page.contains("<script")), "{pages:?}");
    }

    #[test]
    fn a_long_quote_is_cut() {
        let page = folded("plan", &"ü".repeat(QUOTE_MAX));
        assert!(page.len() < QUOTE_MAX + 200 && page.contains("(cut)"));
    }
}
