//! What is counted, for Prometheus.
//!
//! In: what happens. Out: text, made when it is asked for. What the scheduler and the system know is asked of them then.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use stonechat_runtime::system::{Memory, Watch};

use crate::model::Served;
use crate::sandbox::Sandbox;
use crate::scheduler::{Activity, Usage};

/// Names and values.
type Labels = Vec<(&'static str, String)>;

/// Seconds that people and programs wait: from what nobody notices to what nobody waits for.
const WAITING: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];
/// Seconds that a token takes.
const TOKEN: [f64; 10] = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0];

/// See the [module](self).
#[derive(Debug)]
pub struct Metrics {
    requests: Family<Labels, Counter>,
    durations: Family<Labels, Histogram>,
    answers: Family<Labels, Counter>,
    first_token: Histogram,
    answer: Histogram,
    token: Histogram,
    /// The machine since the last look.
    watch: Mutex<Watch>,
    /// What the process is in.
    sandbox: Arc<Sandbox>,
}

impl Metrics {
    /// Nothing has happened yet.
    pub fn new(sandbox: Arc<Sandbox>) -> Self {
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(WAITING)),
            answers: Family::default(),
            first_token: Histogram::new(WAITING),
            answer: Histogram::new(WAITING),
            token: Histogram::new(TOKEN),
            watch: Mutex::new(Watch::start()),
            sandbox,
        }
    }

    /// A request was answered, or its answer began.
    pub fn request(&self, route: &str, status: u16, time: Duration) {
        let route = ("route", route.to_owned());
        self.durations.get_or_create(&vec![route.clone()]).observe(time.as_secs_f64());
        self.requests.get_or_create(&vec![route, ("status", status.to_string())]).inc();
    }

    /// The first token of an answer came.
    pub fn first_token(&self, time: Duration) {
        self.first_token.observe(time.as_secs_f64());
    }

    /// An answer ended.
    pub fn answered(&self, reason: &str, usage: &Usage, time: Duration) {
        self.answers.get_or_create(&vec![("reason", reason.to_owned())]).inc();
        self.answer.observe(time.as_secs_f64());
        if usage.generated_tokens > 0 {
            self.token.observe(usage.generated_seconds / usage.generated_tokens as f64);
        }
    }

    /// All of it.
    pub fn text(&self, served: &Served) -> String {
        let mut registry = Registry::with_prefix("stonechat");
        self.add_requests(&mut registry);
        add_scheduler(&mut registry, served);
        self.add_machine(&mut registry, served);
        let mut text = String::new();
        // Writing to a text does not fail.
        let _ = encode(&mut text, &registry);
        text
    }

    fn add_requests(&self, registry: &mut Registry) {
        registry.register("requests", "Requests by route and status", self.requests.clone());
        let help = "Time until the response began, by route";
        registry.register_with_unit("request_duration", help, Unit::Seconds, self.durations.clone());
        registry.register("answers", "Answers by the reason for which they ended", self.answers.clone());
        let help = "Time from a question to the first token of its answer";
        registry.register_with_unit("first_token", help, Unit::Seconds, self.first_token.clone());
        registry.register_with_unit(
            "answer",
            "Time from a question to the end of its answer",
            Unit::Seconds,
            self.answer.clone(),
        );
        registry.register_with_unit(
            "token",
            "Time for each token of an answer, on average",
            Unit::Seconds,
            self.token.clone(),
        );
    }

    fn add_machine(&self, registry: &mut Registry, served: &Served) {
        let memory = Memory::now();
        let mut bytes = |name: &str, help: &str, bytes: Option<u64>| {
            if let Some(bytes) = bytes {
                registry.register_with_unit(name, help, Unit::Bytes, ConstGauge::new(bytes as i64));
            }
        };
        bytes("memory_anonymous", "Memory of the process itself", memory.anonymous);
        bytes("memory_file", "Memory that holds the model's file, as far as it was read", memory.file);
        bytes("memory_peak", "The most memory that was in use at once", memory.peak);
        bytes(
            "memory_planned",
            "Memory that was planned for the model at the start",
            Some(served.facts.planned as u64),
        );
        bytes("model_file", "Size of the model's file", Some(served.facts.bytes as u64));
        let watch = std::mem::replace(
            &mut *self.watch.lock().unwrap_or_else(PoisonError::into_inner),
            Watch::start(),
        );
        let seen = watch.stop();
        if let Some([_, now]) = seen.temperature_c {
            registry.register("temperature_celsius", "Temperature of the CPU", ConstGauge::new(now));
        }
        if let Some(throttled) = seen.throttled {
            let help = "Whether the machine held itself back for heat or power since the last look";
            registry.register("throttled", help, ConstGauge::new(i64::from(throttled)));
        }
        let model =
            vec![("name", served.name().to_owned()), ("architecture", served.facts.architecture.to_owned())];
        registry.register("model", "What is served", Info::new(model));
        let parts = Info::new(vec![("parts", self.sandbox.parts())]);
        registry.register("sandbox", "What keeps the process from all that serving does not need", parts);
    }
}

fn add_scheduler(registry: &mut Registry, served: &Served) {
    let counters = served.scheduler.counters();
    let slots = served.scheduler.slots();
    let mut count =
        |name: &str, help: &str, value: u64| registry.register(name, help, ConstCounter::new(value));
    count("prompt_tokens", "Tokens of prompts that were read", counters.prompt_tokens);
    count("known_tokens", "Tokens of prompts that did not have to be read", counters.known_tokens);
    count("generated_tokens", "Tokens of answers", counters.generated_tokens);
    count("cancelled", "Questions whose answer nobody wanted any more", counters.cancelled);
    count("refused", "Questions that found the queue full", counters.refused);
    count("failed", "Questions that could not be answered", counters.failed);
    let mut time = |name: &str, help: &str, seconds: f64| {
        registry.register_with_unit(name, help, Unit::Seconds, ConstCounter::new(seconds));
    };
    time("prompt", "Time that prompts were read", counters.prompt_seconds);
    time("generated", "Time that answers were written", counters.generated_seconds);
    let in_state = |activity| slots.iter().filter(|slot| slot.activity == activity).count() as i64;
    let mut gauge =
        |name: &str, help: &str, value: i64| registry.register(name, help, ConstGauge::new(value));
    gauge("queue", "Questions that wait", counters.waiting as i64);
    gauge("slots", "Texts that can be computed at once", slots.len() as i64);
    gauge("slots_reading", "Texts whose prompt is being read", in_state(Activity::Reading));
    gauge("slots_writing", "Texts whose answer is being written", in_state(Activity::Writing));
    gauge("context_tokens", "Tokens in all contexts", slots.iter().map(|slot| slot.tokens as i64).sum());
}
