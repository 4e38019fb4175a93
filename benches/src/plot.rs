//! Bars as SVG, for light and dark backgrounds alike: the page gives the text its colour.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::figures::figure;
use crate::report::{Bar, Bars, Tone};

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Draws bars as an `<svg>` element.
///
/// # Errors
/// If the drawing fails.
pub(crate) fn svg(bars: &Bars) -> Result<String> {
    let height = TOP + ROW * bars.bars.len() as i32 + BOTTOM;
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH as u32, height as u32)).into_drawing_area();
        let scale = Scale::of(bars);
        write(&area, &format!("{}, {}", bars.title, bars.unit), (0, 14), TITLE, HPos::Left)?;
        draw_grid(&area, &scale, height - BOTTOM)?;
        let rows = || bars.bars.iter().zip((TOP..).step_by(ROW as usize));
        rows().try_for_each(|(bar, top)| draw_bar(&area, bar, &scale, top))?;
        draw_mark(&area, bars, &scale, height - BOTTOM)?;
        // Above the mark, where they meet.
        rows().try_for_each(|(bar, top)| write_bar(&area, bar, &scale, top + ROW / 2))?;
        area.present()?;
    }
    Ok(text)
}

/// From figures to the pixels right of the labels.
struct Scale {
    step: f64,
    most: f64,
}

impl Scale {
    fn of(bars: &Bars) -> Self {
        let values = bars.bars.iter().map(|bar| bar.value.max).chain(bars.mark.iter().map(|(at, _)| *at));
        let most = values.fold(f64::MIN_POSITIVE, f64::max);
        // The widest step of 1, 2 or 5 that gives at least three lines.
        let power = 10f64.powf((most / 3.0).log10().floor());
        let step = [5.0, 2.0, 1.0].map(|factor| factor * power).into_iter().find(|step| most / step >= 3.0);
        Self { step: step.unwrap_or(power), most }
    }

    fn x(&self, value: f64) -> i32 {
        LEFT + (value / self.most * f64::from(WIDTH - LEFT - RIGHT)) as i32
    }
}

fn draw_grid(area: &Area<'_>, scale: &Scale, bottom: i32) -> Result<()> {
    for number in 0..=(scale.most / scale.step) as i32 {
        let value = f64::from(number) * scale.step;
        let x = scale.x(value);
        area.draw(&PathElement::new([(x, TOP - 4), (x, bottom)], GREY.mix(0.35).stroke_width(1)))?;
        let label = if value == 0.0 { "0".to_owned() } else { figure(value) };
        let label = if label.contains('.') { label.trim_end_matches('0').trim_end_matches('.') } else { &label };
        write(area, label, (x, bottom + 10), SMALL, HPos::Center)?;
    }
    Ok(())
}

fn draw_bar(area: &Area<'_>, bar: &Bar, scale: &Scale, top: i32) -> Result<()> {
    let (middle, bottom) = (top + ROW / 2, top + ROW);
    let end = scale.x(bar.value.median).max(LEFT + 1);
    area.draw(&Rectangle::new([(LEFT, top + GAP), (end, bottom - GAP)], colour(bar.tone).filled()))?;
    let (least, most) = (scale.x(bar.value.min), scale.x(bar.value.max));
    if most > least {
        let line = GREY.stroke_width(2);
        area.draw(&PathElement::new([(least, middle), (most, middle)], line))?;
        for x in [least, most] {
            area.draw(&PathElement::new([(x, middle - 4), (x, middle + 4)], line))?;
        }
    }
    Ok(())
}

fn write_bar(area: &Area<'_>, bar: &Bar, scale: &Scale, middle: i32) -> Result<()> {
    write(area, &bar.label, (LEFT - 10, middle), TEXT, HPos::Right)?;
    let note = if bar.note.is_empty() { String::new() } else { format!(" · {}", bar.note) };
    let end = scale.x(bar.value.max.max(bar.value.median));
    write(area, &(figure(bar.value.median) + &note), (end + 10, middle), TEXT, HPos::Left)
}

fn draw_mark(area: &Area<'_>, bars: &Bars, scale: &Scale, bottom: i32) -> Result<()> {
    let Some((at, what)) = &bars.mark else { return Ok(()) };
    let x = scale.x(*at);
    area.draw(&PathElement::new([(x, TOP - 8), (x, bottom)], MARK.stroke_width(2)))?;
    write(area, what, (x, TOP - 16), SMALL, HPos::Center)
}

/// Writes text whose middle is at `at`, or which begins or ends there.
fn write(area: &Area<'_>, text: &str, at: (i32, i32), size: i32, from: HPos) -> Result<()> {
    let style = ("sans-serif", size).into_font().color(&GREY).pos(Pos::new(from, VPos::Center));
    Ok(area.draw(&Text::new(text.to_owned(), at, style))?)
}

fn colour(tone: Tone) -> RGBColor {
    match tone {
        Tone::Ours => RGBColor(0x2b, 0x83, 0xba),
        Tone::Js => RGBColor(0xd9, 0x8e, 0x2f),
        Tone::Mixed => RGBColor(0x6a, 0xa8, 0x7c),
        Tone::Bare => RGBColor(0x9a, 0x9a, 0x9a),
    }
}

/// Readable on white and on black, where no page gives another colour.
const GREY: RGBColor = RGBColor(0x80, 0x80, 0x80);
const MARK: RGBColor = RGBColor(0xc8, 0x46, 0x5a);
/// Pixels; the page scales them.
const WIDTH: i32 = 960;
/// Room for labels.
const LEFT: i32 = 190;
/// Room for figures and notes behind the longest bar.
const RIGHT: i32 = 180;
const TOP: i32 = 60;
const BOTTOM: i32 = 24;
const ROW: i32 = 38;
/// Between a bar and the next one, half of it.
const GAP: i32 = 5;
const TITLE: i32 = 25;
const TEXT: i32 = 21;
const SMALL: i32 = 17;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Summary;

    fn bars(values: &[f64]) -> Bars {
        let mut bars = Bars::new("A title & more", "MiB/s");
        for value in values {
            bars.bar("ours", Tone::Ours, Summary::of([*value, value / 2.0, value * 2.0]), "3 times");
        }
        bars.mark(2.0, "asked");
        bars
    }

    #[test]
    fn every_bar_and_every_label_is_in_the_picture() {
        let svg = svg(&bars(&[1.0, 300.0])).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 2);
        for text in ["A title &amp; more, MiB/s", "300 · 3 times", "asked"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
    }

    #[test]
    fn a_scale_has_three_to_eight_lines() {
        for most in [0.013, 0.7, 1.0, 3.0, 59.0, 128.0, 10_000.0] {
            let scale = Scale::of(&bars(&[most / 2.0]));
            let lines = scale.most / scale.step;
            assert!((3.0..8.0).contains(&lines), "{most}: {lines}");
        }
    }
}
