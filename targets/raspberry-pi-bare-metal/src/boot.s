// From reset to Rust, on each core: down to EL1, floating point on, a stack, address translation and caches.
//
// The firmware (and QEMU, for an ELF file) starts cores at EL3, EL2 or EL1. All may come in here at once, or those but the
// first later, when core 0 has written this address where they wait.

.equ STACK, 0x40000
// Translation: 39 bits of address from level 1 on, 4 KiB granule, tables cached and shared with the other cores.
.equ TCR, 25 | (1 << 8) | (1 << 10) | (3 << 12) | (1 << 23)
// Memory of kind 0 is normal and written back, of kind 1 a device.
.equ MAIR, 0x00ff
// Only what must be 1 (Arm ARM, SCTLR_EL1), then translation, data cache and instruction cache.
.equ SCTLR_OFF, 0x30d00800
.equ SCTLR_ON, SCTLR_OFF | 1 | (1 << 2) | (1 << 12)

// The stack of a core, by its number; uses x1 to x3.
.macro own_stack core
    ldr x1, =__stacks
    add x2, \core, #1
    mov x3, #STACK
    madd x1, x2, x3, x1
    mov sp, x1
.endm

// The table of level 1 for the chip of this core, in x1; uses x2. What is no Cortex-A72 is taken for a Cortex-A53.
.macro table
    mrs x2, midr_el1
    ubfx x2, x2, #4, #12
    cmp x2, #0xd08
    ldr x1, =LEVEL_1_BCM2711
    ldr x2, =LEVEL_1_BCM2837
    csel x1, x1, x2, eq
.endm

.section .text.boot
.global _start
_start:
    mrs x0, CurrentEL
    cmp x0, #8
    b.lo 1f
    b.eq 2f
    // EL3: caches agree with those of the other cores (CPUECTLR_EL1.SMPEN: Cortex-A53
    // manual, 4.3.67; Cortex-A72 manual, 4.3.67); EL2 and below are
    // non-secure and 64 bits wide.
    mrs x1, s3_1_c15_c2_1
    orr x1, x1, #(1 << 6)
    msr s3_1_c15_c2_1, x1
    isb
    mov x1, #0x531
    msr scr_el3, x1
    msr cptr_el3, xzr
    mov x1, #0x3c9
    msr spsr_el3, x1
    adr x1, 2f
    msr elr_el3, x1
    eret
2:  // EL2: EL1 is 64 bits wide, may use floating point and read the counter, and sees which CPU it is, and which core.
    mrs x1, midr_el1
    msr vpidr_el2, x1
    mrs x1, mpidr_el1
    msr vmpidr_el2, x1
    mov x1, #(1 << 31)
    msr hcr_el2, x1
    mov x1, #0x33ff
    msr cptr_el2, x1
    mrs x1, cnthctl_el2
    orr x1, x1, #3
    msr cnthctl_el2, x1
    msr cntvoff_el2, xzr
    ldr x1, =SCTLR_OFF
    msr sctlr_el1, x1
    mov x1, #0x3c5
    msr spsr_el2, x1
    adr x1, 1f
    msr elr_el2, x1
    eret
1:  // EL1.
    mov x1, #(3 << 20)
    msr cpacr_el1, x1
    ldr x1, =vectors
    msr vbar_el1, x1
    isb
    mrs x19, mpidr_el1
    and x19, x19, #3
    own_stack x19
    cbnz x19, 5f

    // Core 0 clears what must be 0 and finishes the tables, while no cache is on that could hide it from the others.
    ldr x1, =__bss_start
    ldr x2, =__bss_end
3:  cmp x1, x2
    b.hs 4f
    stp xzr, xzr, [x1], #16
    b 3b
4:  ldr x1, =LEVEL_1_BCM2837
    ldr x2, =LEVEL_2_BCM2837
    orr x2, x2, #3
    str x2, [x1]
    dsb sy
    bl translate
    mov x0, #0
    b start

    // The others wait to be let go.
5:  ldr x1, =RELEASED
6:  ldr w2, [x1]
    cbnz w2, 7f
    wfe
    b 6b
7:  bl translate
    mov x0, x19
    b help

// Switches translation and caches on, if the image is built with them.
translate:
.if {mmu}
    table
    ldr x2, =MAIR
    msr mair_el1, x2
    ldr x2, =TCR
    msr tcr_el1, x2
    msr ttbr0_el1, x1
    tlbi vmalle1
    ic iallu
    dsb sy
    isb
    ldr x2, =SCTLR_ON
    msr sctlr_el1, x2
    isb
.endif
    ret

// Every exception is a fault, and ends in a sentence. It gets the stack of its core anew: the old one may be the reason.
.macro exception
    .balign 0x80
    mrs x0, mpidr_el1
    and x0, x0, #3
    own_stack x0
    mrs x1, esr_el1
    mrs x2, elr_el1
    mrs x3, far_el1
    b fault
.endm
.balign 0x800
vectors:
.rept 16
    exception
.endr
