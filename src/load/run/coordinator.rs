//! The coordinator of a run: takes what roles tell, reads resources, and ends the run when it is
//! over, when it is asked to, or when it makes no sense to go on.
//!
//! One lives per run. It waits for samples, news and scrapes with a time-out, and never longer than
//! to the next reading of resources: at whole seconds and at the ends of phases, so that CPU time
//! is of the phase that it is told with.

use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded, select};
use nix::libc::pid_t;
use ringmesh_ring::Clock;
use ringmesh_runtime::load::Wish;
use ringmesh_runtime::load::sample::Sample;

use super::News;
use super::children::Children;
use super::lines;
use super::merge::Merge;
use super::roles::Roles;
use super::view::View;
use super::vigil::{Gone, Vigil};
use crate::boot::StartError;
use crate::load::observe::scrape::{Scrape, Scrapers};
use crate::load::observe::{Observer, thread_cpu_s};
use crate::load::plan::Plan;
use crate::load::record::{Ended, NodeMetrics, Second};
use crate::load::results::Folder;

const SECOND_NS: u64 = 1_000_000_000;
/// What roles get beyond the time that a run may take at most, before they are given up.
const BEYOND_NS: u64 = 30 * SECOND_NS;
/// What roles get to end at once, before they are given up.
const ABORT_NS: u64 = 10 * SECOND_NS;
/// Answers of admin listeners that wait to be written.
const SCRAPES_WAITING_MAX: usize = 64;

/// How long a target may take to accept a connection when all seem gone.
const KNOCK_MAX: Duration = Duration::from_millis(200);

/// See the module.
pub(super) struct Coordinator<'p> {
    plan: &'p Plan,
    clock: Clock,
    start_ns: u64,
    roles: Roles,
    threads: Vec<pid_t>,
    /// CPU time that each role had when it was last read: it goes when its thread does.
    cpu_s: Vec<f64>,
    merge: Merge,
    observer: Observer,
    view: View,
    children: Children,
    vigil: Vigil,
    scrapes: Receiver<Scrape>,
    /// Keeps the channel open where nobody is asked.
    _told: Sender<Scrape>,
    _scrapers: Option<Scrapers>,
    /// Admin listeners that did not answer last time.
    deaf: Vec<bool>,
    wish: Wish,
    ended: Ended,
    running: u16,
    /// When resources are read next, and when roles are given up, since the begin.
    reading_ns: u64,
    deadline_ns: u64,
    /// Why results cannot be written.
    broken: Option<StartError>,
}

impl<'p> Coordinator<'p> {
    #[expect(clippy::too_many_arguments, reason = "everything that was made")]
    pub(super) fn new(
        plan: &'p Plan,
        clock: Clock,
        start_ns: u64,
        roles: Roles,
        threads: Vec<pid_t>,
        observer: Observer,
        view: View,
        children: Children,
    ) -> Self {
        let (told, scrapes) = bounded(SCRAPES_WAITING_MAX);
        let admins: Vec<_> = plan.admins.iter().map(|(_, admin)| *admin).collect();
        let scrapers = Scrapers::start(&admins, &told);
        if let Err(error) = &scrapers {
            view.say(&lines::note(&format!("the servers' metrics are not asked for: {error}")));
        }
        let script = &plan.script;
        let longest_ns = script.end_ns() + script.linger_ns + 2 * script.timeout_ns;
        let mut coordinator = Self {
            merge: Merge::new(script.clone(), plan.shards),
            cpu_s: vec![0.0; threads.len()],
            deaf: vec![false; plan.admins.len()],
            vigil: Vigil::default(),
            _scrapers: scrapers.ok(),
            wish: Wish::Stay,
            ended: Ended::Complete,
            running: plan.shards,
            reading_ns: 0,
            deadline_ns: longest_ns + BEYOND_NS,
            broken: None,
            plan,
            clock,
            start_ns,
            roles,
            threads,
            observer,
            view,
            children,
            scrapes,
            _told: told,
        };
        coordinator.reading_ns = coordinator.boundary_after(0);
        coordinator.read_cpu();
        coordinator
    }

    /// Runs to the end of all roles.
    ///
    /// # Errors
    /// One line where results cannot be written.
    pub(super) fn run(
        &mut self,
        folder: &mut Folder,
        news: &Receiver<News>,
    ) -> Result<(), StartError> {
        while self.running > 0 {
            let samples = self.roles.samples.clone();
            let scrapes = self.scrapes.clone();
            select! {
                recv(samples) -> sample => sample.into_iter().for_each(|sample| self.on_sample(*sample)),
                recv(news) -> news => news.into_iter().for_each(|news| self.on_news(&news)),
                recv(scrapes) -> scrape => {
                    scrape.into_iter().for_each(|scrape| self.on_scrape(scrape, folder));
                }
                default(self.time_left()) => {}
            }
            let now_ns = self.now_ns();
            self.read_when_due(now_ns, folder);
            self.tell_seconds(now_ns, folder);
            if now_ns >= self.deadline_ns {
                self.fail(format!("bug: {} roles did not end in time", self.running), Wish::Abort);
                break;
            }
        }
        self.finish(folder);
        self.view.end();
        self.broken.take().map_or(Ok(()), Err)
    }

    /// Ends what was started for the run, and how it ended.
    pub(super) fn end(self) -> Ended {
        drop(self.roles);
        for words in self.children.end() {
            self.view.say(&lines::note(&words));
        }
        self.ended
    }

    /// The first signal asks for an end, the second for one at once.
    pub(super) fn on_signal(&mut self) {
        let wish = if self.wish == Wish::Stay { Wish::Finish } else { Wish::Abort };
        if self.ended == Ended::Complete {
            self.ended = Ended::Interrupted;
        }
        self.view.say(&lines::note(match wish {
            Wish::Abort => "interrupted again: ending at once",
            _ => "interrupted: calls in flight are awaited; again to end at once",
        }));
        self.ask(wish);
    }

    fn on_news(&mut self, news: &News) {
        match news {
            News::Signal => self.on_signal(),
            News::Done(role) => {
                // Its samples were sent before.
                while let Ok(sample) = self.roles.samples.try_recv() {
                    self.on_sample(*sample);
                }
                self.merge.end(*role);
                self.running -= 1;
            }
            News::Up(..) => {}
        }
    }

    fn on_sample(&mut self, sample: Sample) {
        let shard = usize::from(sample.shard);
        if let Some(cpu_s) = thread_cpu_s(self.threads[shard]) {
            self.cpu_s[shard] = self.cpu_s[shard].max(cpu_s);
        }
        self.merge.add(sample);
    }

    fn on_scrape(&mut self, scrape: Scrape, folder: &mut Folder) {
        let was_deaf = std::mem::replace(&mut self.deaf[scrape.node], scrape.values.is_err());
        let name = &self.plan.admins[scrape.node].0;
        match scrape.values {
            Ok(values) => {
                let ago_s = scrape.at.elapsed().as_secs_f64();
                let at_s = (self.now_ns() as f64 / 1e9 - ago_s).max(0.0);
                let metrics = NodeMetrics { at_s, node: scrape.node, values };
                self.write(|| folder.add_nodes(&[metrics]));
            }
            Err(why) if !was_deaf => {
                self.view.say(&lines::note(&format!("{name} tells no metrics: {why}")));
            }
            Err(_) => {}
        }
    }

    fn tell_seconds(&mut self, now_ns: u64, folder: &mut Folder) {
        let cpu_s = self.cpu_s.clone();
        while let Some(second) = self.merge.poll(now_ns, |role| cpu_s[usize::from(role)]) {
            self.on_second(&second, folder);
        }
    }

    fn on_second(&mut self, second: &Second, folder: &mut Folder) {
        self.view.show(second);
        self.write(|| folder.add_second(second));
        if self.wish == Wish::Stay
            && let Some(gone) = self.vigil.note(&self.plan.script, second)
        {
            self.fail(words_of(&gone, super::knock(self.plan, KNOCK_MAX)), Wish::Abort);
        }
    }

    fn read_when_due(&mut self, now_ns: u64, folder: &mut Folder) {
        if now_ns < self.reading_ns {
            return;
        }
        self.reading_ns = self.boundary_after(now_ns);
        self.read_cpu();
        let resources = self.observer.read(now_ns as f64 / 1e9);
        self.write(|| folder.add_resources(&resources));
        for words in self.children.poll() {
            match self.wish == Wish::Stay && self.children.are_gone() {
                true => self.fail(words, Wish::Abort),
                false => self.view.say(&lines::note(&words)),
            }
        }
    }

    /// What is left when all roles have ended.
    fn finish(&mut self, folder: &mut Folder) {
        while let Ok(sample) = self.roles.samples.try_recv() {
            self.on_sample(*sample);
        }
        let cpu_s = self.cpu_s.clone();
        for second in self.merge.finish(|role| cpu_s[usize::from(role)]) {
            self.view.show(&second);
            self.write(|| folder.add_second(&second));
        }
        let resources = self.observer.read(self.now_ns() as f64 / 1e9);
        self.write(|| folder.add_resources(&resources));
    }

    /// Writes, unless an earlier write failed; a failure ends the run.
    fn write(&mut self, write: impl FnOnce() -> Result<(), StartError>) {
        if self.broken.is_some() {
            return;
        }
        if let Err(error) = write() {
            self.broken = Some(error);
            self.ask(Wish::Abort);
        }
    }

    fn fail(&mut self, why: String, wish: Wish) {
        if !matches!(self.ended, Ended::Failed(_)) {
            self.view.say(&lines::note(&why));
            self.ended = Ended::Failed(why);
        }
        self.ask(wish);
    }

    fn ask(&mut self, wish: Wish) {
        self.wish = self.wish.max(wish);
        self.roles.ask(wish);
        let script = &self.plan.script;
        let most_ns = match self.wish {
            Wish::Abort => ABORT_NS,
            _ => script.linger_ns + 2 * script.timeout_ns + BEYOND_NS,
        };
        self.deadline_ns = self.deadline_ns.min(self.now_ns() + most_ns);
    }

    fn read_cpu(&mut self) {
        for (cpu_s, &thread) in self.cpu_s.iter_mut().zip(&self.threads) {
            if let Some(now_s) = thread_cpu_s(thread) {
                *cpu_s = cpu_s.max(now_s);
            }
        }
    }

    fn now_ns(&self) -> u64 {
        self.clock.mono_ns().saturating_sub(self.start_ns)
    }

    fn time_left(&self) -> Duration {
        let until_ns = self.start_ns + self.reading_ns.min(self.deadline_ns);
        Duration::from_nanos(until_ns.saturating_sub(self.clock.mono_ns()))
    }

    /// The next whole second or end of a phase.
    fn boundary_after(&self, ns: u64) -> u64 {
        let second_ns = (ns / SECOND_NS + 1) * SECOND_NS;
        let phases = self.plan.script.phases.iter();
        let ends = phases.map(|phase| phase.start_ns + phase.duration_ns);
        ends.filter(|&end_ns| end_ns > ns).fold(second_ns, u64::min)
    }
}

/// Why a run ends whose servers seem gone; `there` is what a new connection came to.
fn words_of(gone: &Gone, there: Result<(), StartError>) -> String {
    let Gone { lost, since_s } = gone;
    match (lost, there) {
        (0, Ok(())) => "every connection is refused, though a single one is not".to_owned(),
        (0, Err(_)) => "every connection is refused".to_owned(),
        (lost, Ok(())) => format!(
            "all {lost} connections were lost by {since_s:.0} s of the run, and the scenario makes \
             no new ones; the server accepts them"
        ),
        (lost, Err(_)) => format!(
            "the server is gone: {lost} connections were lost by {since_s:.0} s of the run, and new \
             ones are refused"
        ),
    }
}
