//! Raspberry Pi Zero 2 W: four small cores, and memory for a small model.

use stonechat_kernels::LevelName;

use super::{Cluster, Profile};
use crate::engine::Threads;

pub const PROFILE: Profile = Profile {
    name: "raspberry-pi-zero-2w",
    title: "Raspberry Pi Zero 2 W",
    // Linux, arch/arm/boot/dts/broadcom/bcm2837-rpi-zero-2-w.dts. The Raspberry Pi 3 has the same cores but another memory.
    compatible: &["raspberrypi,model-zero-2-w"],
    chip: "RP3A0 (BCM2710A1)",
    clusters: &[Cluster { cores: 4, kind: "Cortex-A53", megahertz: 1000 }],
    level: LevelName::Neon,
    threads: Threads { token: 4, batch: 4 },
    threads_reason: "without dot product instructions arithmetic is what a token waits for, and every core helps",
    // Of 512 MiB, firmware and graphics take some 96 first. What a system without a desktop takes is what is kept.
    kept: 160 << 20,
    pages: &[4],
    // Raspberry Pi, "Frequency management and thermal control".
    slows_at: 80.0,
    hottest: 85.0,
    model: ("smollm2-135m", 1024),
    measured: "Not measured on this board. That the model runs within 256 MiB is a test.",
};
