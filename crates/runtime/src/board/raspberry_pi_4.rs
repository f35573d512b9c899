//! Raspberry Pi 4, 400 and Compute Module 4: four cores that run ahead, without dot product instructions.

use stonechat_kernels::LevelName;

use super::{Cluster, Profile};
use crate::engine::Threads;

pub const PROFILE: Profile = Profile {
    name: "raspberry-pi-4",
    title: "Raspberry Pi 4",
    // Linux, arch/arm/boot/dts/broadcom/bcm2711-rpi-*.dts.
    compatible: &["raspberrypi,4-model-b", "raspberrypi,400", "raspberrypi,4-compute-module"],
    chip: "BCM2711",
    clusters: &[Cluster { cores: 4, kind: "Cortex-A72", megahertz: 1800 }],
    level: LevelName::Neon,
    threads: Threads { token: 4, batch: 4 },
    threads_reason: "without dot product instructions arithmetic is what a token waits for, and every core helps",
    kept: 512 << 20,
    pages: &[4],
    // Raspberry Pi, "Frequency management and thermal control".
    slows_at: 80.0,
    hottest: 85.0,
    model: ("smollm2-135m", 4096),
    measured: "Not measured on this board.",
};
