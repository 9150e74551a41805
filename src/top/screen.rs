//! The terminal: taken, drawn on, and given back as it was.

use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::style::{Attribute, Color, Print, SetAttribute, SetForegroundColor};
use crossterm::terminal::{
    self, Clear, ClearType, DisableLineWrap, EnableLineWrap, EnterAlternateScreen,
    LeaveAlternateScreen,
};
use crossterm::{execute, queue};
use nix::poll::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::poll::{Answer, keep_asking};
use super::render::{Line, Look, Page, render};
use super::view::View;

/// How long a key, an answer or a signal may wait.
const PATIENCE_MS: u16 = 50;
/// Lines that a page takes at the bottom.
const FOOTER: &str = "q quit   up, down scroll";

/// Whether the terminal is to be given back.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// A terminal in raw mode on its other screen, until it is dropped.
struct Taken;

impl Taken {
    fn take() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        let taken = Self;
        TAKEN.store(true, Ordering::SeqCst);
        execute!(io::stdout(), EnterAlternateScreen, Hide, DisableLineWrap)?;
        // A panic's message belongs to the screen that stays.
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            usual(panic);
        }));
        Ok(taken)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        give_back();
    }
}

/// Once: to leave the other screen moves the cursor, over what a panic has said meanwhile. A
/// terminal that is gone needs nothing.
fn give_back() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    execute!(io::stdout(), EnableLineWrap, Show, LeaveAlternateScreen).ok();
    terminal::disable_raw_mode().ok();
}

/// What is on the screen.
struct Shown {
    admin: SocketAddr,
    interval: Duration,
    answer: Answer,
    view: View,
    /// Since when, and why, there is no newer answer.
    gone: Option<(Instant, String)>,
    /// Shards that are scrolled past.
    above: usize,
}

/// Shows the server until somebody leaves: q, Escape, Ctrl-C, or a signal. SIGHUP ends the process
/// at once, since there is no terminal to give back.
pub(super) fn show(admin: SocketAddr, interval: Duration, first: Answer) -> io::Result<()> {
    let leave = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register(signal, leave.clone())?;
    }
    let answers = keep_asking(admin, interval)?;
    let view = View::of(admin, None, &first);
    let mut shown = Shown { admin, interval, answer: first, view, gone: None, above: 0 };
    // A terminal that was closed is none any more: so this is asked once.
    let keys_on_stdin = io::stdin().is_terminal();
    let _taken = Taken::take()?;
    shown.draw()?;
    while !leave.load(Ordering::Relaxed) {
        let mut changed = shown.follow(&answers)?;
        let mut ready = wait(keys_on_stdin)?;
        while ready {
            match event::read()? {
                Event::Key(key) if leaves(key) => return Ok(()),
                Event::Key(key) => changed |= shown.scroll(key),
                Event::Resize(..) => changed = true,
                _ => {}
            }
            ready = event::poll(Duration::ZERO)?;
        }
        if changed {
            shown.draw()?;
        }
    }
    Ok(())
}

/// Waits a little for a key or a new size, and says whether there is one.
fn wait(keys_on_stdin: bool) -> io::Result<bool> {
    if !keys_on_stdin {
        // Keys come from the terminal that the process belongs to.
        return event::poll(Duration::from_millis(PATIENCE_MS.into()));
    }
    let stdin = io::stdin();
    let mut looks = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    // EINTR is a signal, which is looked for elsewhere.
    poll(&mut looks, PATIENCE_MS).ok();
    let over = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    if looks[0].revents().is_some_and(|found| found.intersects(over)) {
        // Reading from it would return at once, with nothing, for ever.
        return Err(io::Error::other("it was closed"));
    }
    event::poll(Duration::ZERO)
}

fn leaves(key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        _ if key.kind == KeyEventKind::Release => false,
        KeyCode::Char('c' | 'd') => control,
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => true,
        _ => false,
    }
}

impl Shown {
    /// Takes what the server answered meanwhile.
    fn follow(&mut self, answers: &Receiver<Result<Answer, String>>) -> io::Result<bool> {
        match answers.try_recv() {
            Ok(Ok(answer)) => {
                self.view = View::of(self.admin, Some(&self.answer), &answer);
                self.answer = answer;
                self.gone = None;
                Ok(true)
            }
            Ok(Err(wrong)) => {
                let since = self.gone.take().map_or_else(Instant::now, |(since, _)| since);
                self.view.gone = Some(format!(
                    "no answer for {} s ({wrong}); asking again each {} s",
                    since.elapsed().as_secs(),
                    self.interval.as_secs_f64(),
                ));
                self.gone = Some((since, wrong));
                Ok(true)
            }
            Err(TryRecvError::Empty) => Ok(false),
            Err(TryRecvError::Disconnected) => Err(io::Error::other("nobody asks any more")),
        }
    }

    fn scroll(&mut self, key: KeyEvent) -> bool {
        let before = self.above;
        let last = self.view.shards.len().saturating_sub(1);
        self.above = match key.code {
            KeyCode::Up | KeyCode::Char('k') => before.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => before + 1,
            KeyCode::PageUp => before.saturating_sub(10),
            KeyCode::PageDown => before + 10,
            KeyCode::Home => 0,
            KeyCode::End => last,
            _ => before,
        }
        .min(last);
        self.above != before
    }

    fn draw(&mut self) -> io::Result<()> {
        let (width, height) = terminal::size()?;
        let page = render(&self.view, usize::from(width));
        let lines = fit(&page, usize::from(height), &mut self.above);
        let mut out = io::BufWriter::new(io::stdout().lock());
        for (row, line) in lines.iter().take(usize::from(height)).enumerate() {
            queue!(out, MoveTo(0, u16::try_from(row).unwrap_or(u16::MAX)))?;
            // Before the text: after one that fills the row the cursor stands on its last cell.
            queue!(out, Clear(ClearType::UntilNewLine))?;
            match line.look {
                Look::Plain => {}
                Look::Bold => queue!(out, SetAttribute(Attribute::Bold))?,
                Look::Dim => queue!(out, SetAttribute(Attribute::Dim))?,
                Look::Warn => queue!(out, SetForegroundColor(Color::Red))?,
            }
            queue!(out, Print(&line.text), SetAttribute(Attribute::Reset))?;
            queue!(out, SetForegroundColor(Color::Reset))?;
        }
        if lines.len() < usize::from(height) {
            let row = u16::try_from(lines.len()).unwrap_or(u16::MAX);
            queue!(out, MoveTo(0, row), Clear(ClearType::FromCursorDown))?;
        }
        out.flush()
    }
}

/// The lines for a terminal of so many rows. Shards give way first, then what stands below them;
/// `above` is held to what can be scrolled.
pub(super) fn fit(page: &Page, height: usize, above: &mut usize) -> Vec<Line> {
    let footer = Line { text: FOOTER.into(), look: Look::Dim };
    let fixed = page.above.len() + 1;
    // A few shards before the slowest ticks.
    let few = page.shards.len().min(3);
    let below = match height >= fixed + few + page.below.len() {
        true => page.below.as_slice(),
        false => &[],
    };
    let room = height.saturating_sub(fixed + below.len());
    *above = (*above).min(page.shards.len().saturating_sub(room));
    let shards = page.shards.iter().skip(*above).take(room);
    let mut lines: Vec<_> = page.above.iter().chain(shards).chain(below).cloned().collect();
    let hidden = page.shards.len().saturating_sub(room);
    let footer = match hidden {
        0 => footer,
        _ => Line { text: format!("{FOOTER}   {hidden} shards not shown"), ..footer },
    };
    lines.truncate(height.saturating_sub(1));
    lines.push(footer);
    lines
}
