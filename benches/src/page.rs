//! The report as one page for people: nothing outside it is needed, nothing in it runs.

use std::fmt::Write;

use anyhow::Result;
use pulldown_cmark::{Options, Parser, html::push_html};

use crate::plot;
use crate::report::{Page, Part};

/// Returns the pages as one HTML text, below what is said first.
///
/// # Errors
/// If a picture cannot be drawn.
pub(crate) fn html(title: &str, lead: &str, pages: &[Page]) -> Result<String> {
    let mut text = format!("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n{STYLE}");
    write!(text, "<title>{title}</title>\n<main>\n<h1>{title}</h1>\n")?;
    push_markdown(&mut text, lead);
    for page in pages {
        writeln!(text, "<section>\n<h2>{}</h2>", page.title)?;
        for part in &page.parts {
            match part {
                Part::Text(markdown) => push_markdown(&mut text, markdown),
                Part::Bars(bars) => writeln!(text, "<figure>{}</figure>", plot::svg(bars)?)?,
            }
        }
        text.push_str("</section>\n");
    }
    text.push_str("</main>\n</html>\n");
    Ok(text)
}

fn push_markdown(text: &mut String, markdown: &str) {
    push_html(text, Parser::new_ext(markdown, Options::ENABLE_TABLES));
}

/// Colours follow the reader's light or dark setting.
const STYLE: &str = "<meta name=\"viewport\" content=\"width=device-width\">
<style>
:root { color-scheme: light dark; --line: #8884; }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 64rem; overflow-x: auto; margin: 2rem auto 4rem; padding: 0 1.2rem; }
h1 { line-height: 1.2; }
h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
table { border-collapse: collapse; margin: 1rem 0; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .7rem; border-bottom: 1px solid var(--line); text-align: left; }
td { white-space: nowrap; }
th { font-weight: 600; vertical-align: bottom; }
figure { margin: 1.6rem 0; }
figure svg { max-width: 100%; height: auto; }
figure text { fill: currentColor; font-family: system-ui, sans-serif; stroke: Canvas; stroke-width: 5px; paint-order: stroke; }
figure text:first-of-type { font-weight: 600; }
pre, code { font-family: ui-monospace, monospace; font-size: .9em; }
pre { overflow-x: auto; padding: .7rem 1rem; border: 1px solid var(--line); border-radius: 4px; }
</style>
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Summary;
    use crate::report::{Bars, Tone};

    #[test]
    fn a_page_is_whole_in_itself() {
        let mut page = Page::new("One");
        page.text("| who | s |\n|---|---:|\n| ours | **1** |\n");
        let mut bars = Bars::new("Bars", "s");
        bars.bar("ours", Tone::Ours, Summary::of([1.0]), "");
        page.bars(bars);
        let html = html("All", "Lead.", &[page]).unwrap();
        for piece in ["<h1>All</h1>", "<p>Lead.</p>", "<strong>1</strong>", "<svg", "</html>"] {
            assert!(html.contains(piece), "{piece}: {html}");
        }
        assert!(!html.contains("<script") && !html.contains("href=") && !html.contains("src="), "{html}");
    }
}
