//! Raspberry Pi 5, 500 and Compute Module 5: four fast cores, two of which are enough to wait for the memory.

use stonechat_kernels::LevelName;

use super::{Cluster, Profile};
use crate::engine::Threads;

pub const PROFILE: Profile = Profile {
    name: "raspberry-pi-5",
    title: "Raspberry Pi 5",
    // Linux, arch/arm64/boot/dts/broadcom/bcm2712-rpi-*.dts, and Raspberry Pi's own kernel.
    compatible: &["raspberrypi,5-model-b", "raspberrypi,500", "raspberrypi,5-compute-module"],
    chip: "BCM2712",
    clusters: &[Cluster { cores: 4, kind: "Cortex-A76", megahertz: 2400 }],
    level: LevelName::Dotprod,
    threads: Threads { token: 2, batch: 4 },
    threads_reason: "an answer waits for the memory, which gives 12.7 GB/s to two threads and 10.7 to four; a prompt waits for \
                     arithmetic",
    kept: 512 << 20,
    pages: &[4, 16],
    // Raspberry Pi, "Frequency management and thermal control".
    slows_at: 80.0,
    hottest: 85.0,
    model: ("smollm2-135m", 4096),
    measured: "Others have measured the memory: 13.8 GB/s read by one thread, 12.7 by two, 10.7 by four, of 17 on paper. \
               Stonechat was not measured on this board.",
};
