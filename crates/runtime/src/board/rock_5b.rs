//! Radxa ROCK 5B: four fast cores in two clusters, and four small ones that a step would wait for.

use stonechat_kernels::LevelName;

use super::{Cluster, Profile};
use crate::engine::Threads;

pub const PROFILE: Profile = Profile {
    name: "rock-5b",
    title: "Radxa ROCK 5B",
    // Linux, arch/arm64/boot/dts/rockchip/rk3588-rock-5b*.dts.
    compatible: &["radxa,rock-5b", "radxa,rock-5b-plus"],
    chip: "RK3588",
    clusters: &[
        Cluster { cores: 4, kind: "Cortex-A76", megahertz: 2400 },
        Cluster { cores: 4, kind: "Cortex-A55", megahertz: 1800 },
    ],
    level: LevelName::Dotprod,
    threads: Threads { token: 4, batch: 4 },
    threads_reason: "the four big cores, to which threads are kept; a step would wait for the small ones",
    kept: 512 << 20,
    pages: &[4],
    // The passive and the critical trip points of the big cores in Linux, arch/arm64/boot/dts/rockchip/rk3588-base.dtsi.
    slows_at: 85.0,
    hottest: 115.0,
    model: ("smollm2-135m", 4096),
    measured: "Not measured on this board.",
};
