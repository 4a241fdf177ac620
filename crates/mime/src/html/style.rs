//! `style` attributes reduced to what can neither load nor cover anything.

const PROPERTIES: [&str; 42] = [
    "background-color",
    "border",
    "border-bottom",
    "border-bottom-color",
    "border-bottom-style",
    "border-bottom-width",
    "border-collapse",
    "border-color",
    "border-left",
    "border-left-color",
    "border-left-style",
    "border-left-width",
    "border-right",
    "border-spacing",
    "border-style",
    "border-top",
    "border-top-color",
    "border-top-style",
    "border-top-width",
    "border-width",
    "color",
    "direction",
    "font-family",
    "font-size",
    "font-style",
    "font-weight",
    "height",
    "line-height",
    "list-style-type",
    "margin-bottom",
    "margin-top",
    "padding",
    "padding-bottom",
    "padding-left",
    "padding-right",
    "padding-top",
    "text-align",
    "text-decoration",
    "text-indent",
    "vertical-align",
    "white-space",
    "width",
];

/// The harmless declarations of a `style` attribute; none when there is none.
pub(super) fn reduce(style: &str) -> Option<String> {
    let kept: Vec<String> = style
        .split(';')
        .filter_map(|declaration| declaration.split_once(':'))
        .map(|(property, value)| (property.trim().to_ascii_lowercase(), value.trim()))
        .filter(|(property, value)| PROPERTIES.contains(&property.as_str()) && harmless(value))
        .map(|(property, value)| format!("{property}: {value}"))
        .collect();
    (!kept.is_empty()).then(|| kept.join("; "))
}

/// No function but colours, no escape, no comment: so no `url()` under any spelling.
fn harmless(value: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || " #.,%-+'\"!".contains(c);
    let colour = ["rgb(", "rgba(", "hsl(", "hsla("]
        .iter()
        .find_map(|function| value.strip_prefix(function))
        .and_then(|rest| rest.strip_suffix(')'));
    !value.is_empty() && value.len() <= 200 && colour.unwrap_or(value).chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_declarations_stay() {
        for (style, kept) in [
            ("color: red; POSITION: fixed; font-size:12pt", Some("color: red; font-size: 12pt")),
            ("background-color: rgb(1, 2, 3)", Some("background-color: rgb(1, 2, 3)")),
            ("background-color: url(https://evil.example/x.png)", None),
            ("background-color: u\\72l(x)", None),
            ("color: expression(alert(1))", None),
            ("color: /**/red", None),
            ("background: red", None),
            ("width:100%;;:", Some("width: 100%")),
            ("", None),
        ] {
            assert_eq!(reduce(style).as_deref(), kept, "{style}");
        }
    }
}
