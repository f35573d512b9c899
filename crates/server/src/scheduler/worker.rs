//! The thread that computes: gives jobs their places, feeds the engine step by step, and hands out what comes of it.
//!
//! An error that comes of a batch is nobody's in particular: those who were in it are fed alone, up to where the batch would
//! have brought them, and whose error it is has it again. So a text that cannot be computed ends by itself, and the thread goes
//! on.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use stonechat_core::sampler::Candidate;
use stonechat_core::session::Stretch;
use stonechat_runtime::pace::Pace;
use stonechat_runtime::{Engine, Error, PromptCache};

use super::prefix::{Free, WORTH_SHARING, common, place};
use super::shares::{Room, shares};
use super::slot::{Slot, Work};
use super::{End, Event, Request, Shared};

/// What a piece of a prompt may take while answers are being written: words that come this often still flow.
const WHILE_WRITING: Duration = Duration::from_millis(100);

/// The thread's own. See the [module](self).
pub(super) struct Worker {
    engine: Engine,
    cache: Option<PromptCache>,
    shared: Arc<Shared>,
    slots: Vec<Slot>,
    pace: Pace,
    /// Steps so far, and jobs.
    steps: u64,
    jobs: u64,
    /// What probabilities are computed in.
    memory: Vec<Candidate>,
}

impl Worker {
    pub fn new(engine: Engine, cache: Option<PromptCache>, shared: Arc<Shared>) -> Self {
        let slots = (0..engine.session().sequences()).map(|_| Slot::default()).collect();
        Self { engine, cache, shared, slots, pace: Pace::default(), steps: 0, jobs: 0, memory: Vec::new() }
    }

    /// Works until nothing new is taken and all is done.
    pub fn work(mut self) {
        loop {
            for number in 0..self.slots.len() {
                if self.slots[number].work.as_ref().is_some_and(Work::is_unwanted) {
                    self.finish(number, None);
                }
            }
            while let Some(request) = self.next_request() {
                self.begin(request);
            }
            if self.slots.iter().all(|slot| slot.work.is_none()) {
                if self.is_over() {
                    return;
                }
                continue;
            }
            self.steps += 1;
            self.step();
            self.report();
        }
    }

    /// The job that waits longest, if there is a place for it.
    fn next_request(&self) -> Option<Request> {
        let mut state = self.shared.state();
        while state.taken < state.slots.len() {
            let request = state.waiting.pop_front()?;
            if !request.1.is_closed() {
                state.taken += 1;
                return Some(request);
            }
            state.counters.cancelled += 1;
        }
        None
    }

    /// Waits for a job. Whether none will come any more.
    fn is_over(&self) -> bool {
        let mut state = self.shared.state();
        while state.waiting.is_empty() {
            if state.draining {
                return true;
            }
            state = self.shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        false
    }

    /// Tells others how it stands.
    fn report(&self) {
        let context = self.engine.session().context();
        let mut state = self.shared.state();
        for (state, slot) in state.slots.iter_mut().zip(&self.slots) {
            *state = slot.state(context);
        }
    }

    /// Gives a job its place, with what is known of its prompt.
    fn begin(&mut self, (mut job, sender): Request) {
        self.jobs += 1;
        let work = match Work::new(&mut job, sender, &self.engine, self.jobs) {
            Ok(work) => work,
            Err((sender, error)) => {
                let mut state = self.shared.state();
                state.taken -= 1;
                state.counters.failed += 1;
                state.cut_short |= matches!(error, Error::CutShort { .. });
                drop(state);
                let _ = sender.send(Event::Failed(error));
                return;
            }
        };
        let free = self.slots.iter().enumerate().filter(|(_, slot)| slot.work.is_none());
        let free = free.map(|(number, slot)| Free { number, tokens: slot.known(), used: slot.used });
        let number = place(free, &job.tokens).expect("a job is taken where a place is free");
        self.engine.with_session(|session| session.turn_to(number));
        let slot = &mut self.slots[number];
        // The last token's logits are wanted even where all of them are known.
        let same = common(slot.known(), &job.tokens).min(job.tokens.len() - 1);
        slot.fed = self.engine.wind_back(same);
        slot.alone = 0;
        slot.tokens = job.tokens;
        slot.work = Some(work);
        let most = &self.slots[number].tokens;
        let most = &most[..most.len() - 1];
        let elsewhere = self.slots.iter().any(|other| common(other.known(), most) >= WORTH_SHARING);
        if let Some(cache) = self.cache.as_ref().filter(|_| !elsewhere) {
            self.engine.wind_back(0);
            self.slots[number].fed = self.engine.with_session(|session| cache.restore(session, most));
        }
        self.knows(number, 0);
        self.slots[number].tell_reading();
    }

    /// Counts tokens of a prompt that did not have to be read: all that were fed but `before`.
    fn knows(&mut self, number: usize, before: usize) {
        let Slot { fed, work, .. } = &mut self.slots[number];
        if let Some(work) = work {
            work.usage.known_tokens += *fed - before;
            self.shared.state().counters.known_tokens += (*fed - before) as u64;
        }
    }

    /// Feeds some tokens of every text, and lets those write who have been fed all of theirs.
    fn step(&mut self) {
        let awaited: Vec<bool> = (0..self.slots.len()).map(|number| self.share_prefix(number)).collect();
        let waiting = self.slots.iter().zip(&awaited);
        let waiting: Vec<usize> = waiting
            .map(|(slot, awaited)| if *awaited || slot.work.is_none() { 0 } else { slot.waiting() })
            .collect();
        let limits = *self.engine.plan().limits();
        let writes = self.slots.iter().any(|slot| slot.work.as_ref().is_some_and(Work::is_writing));
        let reading = if writes {
            self.pace.next_within(WHILE_WRITING, limits.batch)
        } else {
            self.pace.next(limits.batch)
        };
        let room = Room { tokens: limits.batch, outputs: limits.outputs, reading };
        let shares = shares(&waiting, (self.steps % self.slots.len() as u64) as usize, room);
        let mut together: Vec<(usize, usize)> =
            shares.into_iter().enumerate().filter(|(_, n)| *n > 0).collect();
        // A batch is quickest that begins with those of one token.
        together.sort_by_key(|(_, tokens)| *tokens);
        let (alone, together): (Vec<_>, Vec<_>) =
            together.into_iter().partition(|(number, _)| self.slots[*number].fed < self.slots[*number].alone);
        for alone in alone {
            self.feed(&[alone]);
        }
        if !together.is_empty() {
            self.feed(&together);
        }
    }

    /// Feeds each of these slots so many tokens, in one batch.
    fn feed(&mut self, batch: &[(usize, usize)]) {
        let stretches: Vec<Stretch<'_>> = batch
            .iter()
            .map(|(number, tokens)| {
                let slot = &self.slots[*number];
                let outputs = usize::from(*tokens == slot.waiting());
                Stretch { sequence: *number, tokens: &slot.tokens[slot.fed..][..*tokens], outputs }
            })
            .collect();
        let start = Instant::now();
        let fed = self.engine.feed_together(&stretches);
        let time = start.elapsed();
        if let Err(error) = fed {
            return self.failed(batch, error);
        }
        let mut read = 0;
        for (number, tokens) in batch {
            let slot = &mut self.slots[*number];
            slot.fed += tokens;
            if slot.work.as_ref().is_some_and(|work| !work.is_writing()) {
                read += tokens;
                slot.tell_reading();
            }
        }
        if read > 0 {
            // What a step takes is mostly the prompts' where there are any.
            self.pace.note(batch.iter().map(|(_, tokens)| tokens).sum(), time);
        }
        let mut written = 0;
        for (number, _) in batch {
            if self.slots[*number].waiting() > 0 {
                continue;
            }
            self.engine.with_session(|session| session.turn_to(*number));
            let (tokens, ended) = self.slots[*number].write(&mut self.engine, &mut self.memory);
            written += tokens;
            match ended {
                Ok(None) => {}
                Ok(Some(end)) => self.finish(*number, Some(Ok(end))),
                Err(error) => self.finish(*number, Some(Err(error))),
            }
        }
        let counters = &mut self.shared.state().counters;
        counters.prompt_tokens += read as u64;
        counters.generated_tokens += written as u64;
    }

    /// A batch could not be fed.
    fn failed(&mut self, batch: &[(usize, usize)], error: Error) {
        for (number, tokens) in batch {
            let slot = &mut self.slots[*number];
            slot.alone = slot.fed + tokens;
            // Recurrent states are lost, and their texts read anew.
            slot.fed = self.engine.with_session(|session| {
                session.turn_to(*number);
                session.position().min(slot.fed)
            });
            self.engine.wind_back(slot.fed);
        }
        if let [(number, _)] = batch {
            self.finish(*number, Some(Err(error)));
        }
    }

    /// Ends what is done in a slot: with an answer, an error, or because nobody wants it any more.
    fn finish(&mut self, number: usize, outcome: Option<Result<End, Error>>) {
        let slot = &mut self.slots[number];
        slot.tokens.truncate(slot.fed);
        slot.used = self.steps;
        let Some(work) = slot.work.take() else { return };
        let mut state = self.shared.state();
        let count = match &outcome {
            None => &mut state.counters.cancelled,
            Some(Ok(_)) => &mut state.counters.answered,
            Some(Err(_)) => &mut state.counters.failed,
        };
        *count += 1;
        state.taken -= 1;
        state.cut_short |= matches!(outcome, Some(Err(Error::CutShort { .. })));
        state.slots[number] = slot.state(self.engine.session().context());
        drop(state);
        let is_answered = matches!(outcome, Some(Ok(_)));
        if let Some(outcome) = outcome {
            let usage = work.end(outcome);
            let mut state = self.shared.state();
            state.counters.prompt_seconds += usage.prompt_seconds;
            state.counters.generated_seconds += usage.generated_seconds;
        }
        if let Some(cache) = self.cache.as_ref().filter(|_| is_answered) {
            let known = self.slots[number].known();
            self.engine.with_session(|session| {
                session.turn_to(number);
                // What is not kept is computed again: no reason to fail.
                let _ = cache.keep(session, known);
            });
        }
    }

    /// Takes over the beginning of a prompt from a text that has more of it. Whether it is worth waiting for a prompt that is
    /// being read, and will have more of it.
    fn share_prefix(&mut self, number: usize) -> bool {
        let slot = &self.slots[number];
        let Some(work) = slot.work.as_ref().filter(|work| !work.is_writing() && slot.alone == 0) else {
            return false;
        };
        let wanted = &slot.tokens[..slot.tokens.len() - 1];
        let can_wind_back = self.engine.can_wind_back();
        // Who came before reads for both, as far as both say the same.
        let leads = |other: &Slot| {
            let Some(leader) = &other.work else { return false };
            let same = common(&other.tokens, wanted);
            leader.number < work.number
                && !leader.is_writing()
                && (slot.fed..same).contains(&other.fed)
                && same - slot.fed >= WORTH_SHARING
        };
        if can_wind_back && self.slots.iter().any(leads) {
            return true;
        }
        let others = self.slots.iter().enumerate().filter(|(other, _)| *other != number);
        let best = others
            .map(|(other, slot)| (common(slot.known(), wanted), other, slot.fed))
            // A recurrent state is that after all tokens.
            .filter(|(same, _, fed)| can_wind_back || same == fed)
            .max_by_key(|(same, ..)| *same);
        let before = slot.fed;
        if let Some((same, other, _)) = best
            && same >= before + WORTH_SHARING
        {
            self.engine.with_session(|session| {
                session.turn_to(number);
                session.copy_beginning(other, same);
            });
            self.slots[number].fed = same;
            self.knows(number, before);
        }
        false
    }
}

impl Drop for Worker {
    /// Where the thread panicked, nobody waits for it in vain: those who wait hear that nothing comes, nothing new is taken, and the
    /// alarm rings.
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.draining = true;
        state.waiting.clear();
        state.fallen = std::thread::panicking();
        let fallen = state.fallen;
        drop(state);
        // Those who were being answered hear of it first.
        self.slots.clear();
        if fallen {
            self.shared.alarm.ring();
        }
    }
}
