//! The tokens that may still be picked: what every step of the chain takes, changes and hands on.

use core::cmp::Ordering;
use core::mem::take;

use bytemuck::{Pod, Zeroable};

use super::math::{exp, sum};

/// A token that may be picked, and its weight: a logit while the chain runs, a probability at its end.
#[derive(Clone, Copy, PartialEq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Candidate {
    pub(super) weight: f32,
    pub(super) token: u32,
}

impl Candidate {
    /// The token.
    pub const fn token(&self) -> u32 {
        self.token
    }

    /// How likely it is, of all that may be picked.
    pub const fn probability(&self) -> f32 {
        self.weight
    }
}

/// In what order candidates stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    /// Every token, each at the place of its id.
    Whole,
    /// The most likely first, of equals the lower id.
    Sorted,
    /// Any other.
    Other,
}

/// See the [module](self). There is always at least one.
#[derive(Debug)]
pub(super) struct Candidates<'m> {
    all: &'m mut [Candidate],
    order: Order,
}

/// The length of the first stretch that is sorted where nobody knows yet how many will be needed.
const FIRST_STRETCH: usize = 256;

impl<'m> Candidates<'m> {
    /// All tokens, or those that a bit of `allowed` permits, if it permits any. `memory` is as long as `logits`.
    pub fn new(logits: &[f32], allowed: Option<&[u32]>, memory: &'m mut [Candidate]) -> Self {
        if let Some(allowed) = allowed {
            let mut count = 0;
            for (word, (bits, logits)) in allowed.iter().zip(logits.chunks(32)).enumerate() {
                let mut bits = *bits;
                while bits != 0 {
                    let bit = bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    let Some(&weight) = logits.get(bit) else { break };
                    memory[count] = Candidate { weight, token: (word * 32 + bit) as u32 };
                    count += 1;
                }
            }
            if count > 0 {
                return Self { all: &mut memory[..count], order: Order::Other };
            }
        }
        for ((token, weight), candidate) in (0..).zip(logits).zip(memory.iter_mut()) {
            *candidate = Candidate { weight: *weight, token };
        }
        Self { all: memory, order: Order::Whole }
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn into_inner(self) -> &'m mut [Candidate] {
        self.all
    }

    /// The highest logit.
    pub fn best(&self) -> f32 {
        if self.order == Order::Sorted {
            return self.all[0].weight;
        }
        // In lanes, as vectors do it; a maximum is the same in any order.
        let mut lanes = [f32::NEG_INFINITY; 16];
        for chunk in self.all.chunks(16) {
            for (lane, candidate) in lanes.iter_mut().zip(chunk) {
                *lane = if candidate.weight > *lane { candidate.weight } else { *lane };
            }
        }
        lanes.iter().fold(f32::NEG_INFINITY, |best, lane| if *lane > best { *lane } else { best })
    }

    /// The sum of e^(logit - best), what makes weights probabilities.
    pub fn mass(&self, best: f32) -> f32 {
        sum(self.all, |candidate| exp(candidate.weight - best))
    }

    /// The sum of f(logit) over all whose logit is above minus infinity, and their number.
    pub fn sum_finite(&self, f: impl Fn(f32) -> f32) -> (f32, usize) {
        let total = sum(self.all, |c| if c.weight > f32::NEG_INFINITY { f(c.weight) } else { 0.0 });
        (total, self.all.iter().filter(|c| c.weight > f32::NEG_INFINITY).count())
    }

    /// The entropy in nats of e^(logit - best) / mass.
    pub fn entropy(&self, best: f32, mass: f32) -> f32 {
        // -Σ p ln p = ln mass - Σ e^x x / mass. What has no probability adds nothing.
        let weighted = sum(self.all, |candidate| {
            let x = candidate.weight - best;
            let power = exp(x);
            if power > 0.0 { power * x } else { 0.0 }
        });
        libm::logf(mass) - weighted / mass
    }

    /// Changes every logit; `f` keeps their order.
    pub fn map(&mut self, f: impl Fn(f32) -> f32) {
        for candidate in self.all.iter_mut() {
            candidate.weight = f(candidate.weight);
        }
    }

    /// Changes the logits of some tokens, given by pairs of a token and a number, sorted by token, each token once.
    pub fn adjust(&mut self, pairs: &[[u32; 2]], change: impl Fn(f32, u32) -> f32) {
        if self.order == Order::Whole {
            for [token, number] in pairs {
                if let Some(candidate) = self.all.get_mut(*token as usize) {
                    candidate.weight = change(candidate.weight, *number);
                }
            }
            return;
        }
        for candidate in self.all.iter_mut() {
            if let Ok(found) = pairs.binary_search_by_key(&candidate.token, |pair| pair[0]) {
                candidate.weight = change(candidate.weight, pairs[found][1]);
            }
        }
        self.order = Order::Other;
    }

    /// Adds a bias to the logit of a token.
    pub fn bias(&mut self, token: u32, bias: f32) {
        let found = match self.order {
            Order::Whole => self.all.get_mut(token as usize),
            Order::Sorted | Order::Other => self.all.iter_mut().find(|candidate| candidate.token == token),
        };
        if let Some(candidate) = found {
            candidate.weight += bias;
        }
        if self.order == Order::Sorted {
            self.order = Order::Other;
        }
    }

    /// Keeps the k most likely, sorted.
    pub fn keep_most_likely(&mut self, k: usize) {
        let k = k.min(self.all.len());
        if self.order != Order::Sorted {
            if k < self.all.len() {
                gather(self.all, k, &by_weight);
            }
            // By reference, as in `sort_until`: another type would be another sort, of 11 kB.
            self.all[..k].sort_unstable_by(&by_weight);
            self.order = Order::Sorted;
        }
        self.truncate(k);
    }

    /// Keeps those whose logit is at least `least`, in their order; if there is none, the most likely.
    pub fn keep_at_least(&mut self, least: f32) {
        let count = if self.order == Order::Sorted {
            self.all.partition_point(|candidate| candidate.weight >= least)
        } else {
            let mut count = 0;
            for i in 0..self.all.len() {
                if self.all[i].weight >= least {
                    self.all.swap(count, i);
                    count += 1;
                }
            }
            count
        };
        if count == 0 {
            self.keep_most_likely(1);
        } else if count < self.all.len() {
            self.truncate(count);
            if self.order == Order::Whole {
                self.order = Order::Other;
            }
        }
    }

    /// Keeps the most likely, sorted, up to the first for which `enough`.
    pub fn keep_until(&mut self, mut enough: impl FnMut(&Candidate) -> bool) {
        let count = if self.order == Order::Sorted {
            self.all.iter().position(&mut enough).map_or(self.all.len(), |at| at + 1)
        } else {
            sort_until(self.all, &by_weight, enough)
        };
        self.truncate(count);
        self.order = Order::Sorted;
    }

    /// Keeps those that come first by `key`, of equals the lower id, up to the first for which `enough`.
    pub fn keep_by_key(&mut self, key: impl Fn(f32) -> f32, enough: impl FnMut(&Candidate) -> bool) {
        let compare = |a: &Candidate, b: &Candidate| {
            key(a.weight).total_cmp(&key(b.weight)).then(a.token.cmp(&b.token))
        };
        let count = sort_until(self.all, &compare, enough);
        self.truncate(count);
        self.order = Order::Other;
    }

    /// How many lead by a logit of at least `least`, sorted; the others follow in any order.
    pub fn lead(&mut self, least: f32) -> usize {
        let count = |all: &[Candidate]| all.partition_point(|candidate| candidate.weight >= least);
        if self.order == Order::Sorted {
            return count(self.all);
        }
        self.order = Order::Other;
        let sorted = sort_until(self.all, &by_weight, |candidate| candidate.weight < least);
        count(&self.all[..sorted])
    }

    /// Leaves out the first `count`, of which [`lead`](Self::lead) told.
    pub fn drop_first(&mut self, count: usize) {
        self.all = &mut take(&mut self.all)[count..];
    }

    /// Turns logits into probabilities.
    pub fn normalize(&mut self) {
        let best = self.best();
        if best == f32::NEG_INFINITY {
            // Every one was forbidden: none is better than another.
            let share = 1.0 / self.all.len() as f32;
            return self.map(|_| share);
        }
        self.map(|logit| exp(logit - best));
        let mass = sum(self.all, |candidate| candidate.weight);
        self.map(|weight| weight / mass);
    }

    fn truncate(&mut self, count: usize) {
        self.all = &mut take(&mut self.all)[..count];
    }
}

/// Most likely first; of equals the lower id.
pub(super) fn by_weight(a: &Candidate, b: &Candidate) -> Ordering {
    // Adding 0 makes -0 and 0 the equals that they are.
    (b.weight + 0.0).total_cmp(&(a.weight + 0.0)).then(a.token.cmp(&b.token))
}

/// Brings the first k of an order to the front, in any order among themselves; k is at least 1 and less than the
/// length. One pass, in which few are better than the worst of the k found so far: quicker than a selection over all,
/// as long as k is much smaller.
fn gather(all: &mut [Candidate], k: usize, compare: &impl Fn(&Candidate, &Candidate) -> Ordering) {
    let room = (4 * k).max(FIRST_STRETCH);
    if room >= all.len() {
        all.select_nth_unstable_by(k - 1, compare);
        return;
    }
    let select = |all: &mut [Candidate], len: usize| {
        all[..len].select_nth_unstable_by(k - 1, compare);
        all[k - 1]
    };
    let mut worst = select(all, room);
    let mut len = k;
    for i in room..all.len() {
        if compare(&all[i], &worst) == Ordering::Less {
            all.swap(len, i);
            len += 1;
            if len == room {
                worst = select(all, room);
                len = k;
            }
        }
    }
    if len > k {
        select(all, len);
    }
}

/// Sorts from the front, stretch by stretch, up to the first for which `enough`; says how many that makes.
fn sort_until(
    all: &mut [Candidate],
    compare: &impl Fn(&Candidate, &Candidate) -> Ordering,
    mut enough: impl FnMut(&Candidate) -> bool,
) -> usize {
    let (mut done, mut stretch) = (0, FIRST_STRETCH);
    while done < all.len() {
        let rest = &mut all[done..];
        let count = stretch.min(rest.len());
        if count < rest.len() {
            gather(rest, count, compare);
        }
        rest[..count].sort_unstable_by(compare);
        if let Some(at) = rest[..count].iter().position(&mut enough) {
            return done + at + 1;
        }
        done += count;
        stretch *= 4;
    }
    all.len()
}
