/* What runs before main on a Cortex-M: the FPU on, variables in place. And the way out: semihosting, by which a program
 * under qemu or a debugger prints and exits through its host. */
#include <stddef.h>
#include <stdint.h>

#include "console.h"

extern uint32_t data_start[], data_end[], bss_start[], bss_end[], stack_bottom[], stack_top[];
extern const uint32_t data_image[];

int main(void);
void reset(void);
static void fault(void);

typedef void (*vector)(void);
__attribute__((section(".vectors"), used)) static const vector vectors[16] = {
    (vector)stack_top, reset, fault, fault, fault, fault, fault};

enum { SYS_WRITE0 = 0x04, SYS_EXIT_EXTENDED = 0x20, APPLICATION_EXIT = 0x20026 };

static void semihosting(uint32_t operation, const void *argument) {
  register uint32_t r0 __asm__("r0") = operation;
  register const void *r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

void console_write(const char *text) {
  semihosting(SYS_WRITE0, text);
}

static void exit_with(uint32_t status) {
  const uint32_t arguments[2] = {APPLICATION_EXIT, status};
  semihosting(SYS_EXIT_EXTENDED, arguments);
  for (;;) {
  }
}

static void fault(void) {
  console_write("fault\n");
  exit_with(2);
}

/* The system timer counts down 24 bits of the processor's clock. */
static volatile uint32_t *const timer_control = (volatile uint32_t *)0xe000e010;
static volatile uint32_t *const timer_reload = (volatile uint32_t *)0xe000e014;
static volatile uint32_t *const timer_value = (volatile uint32_t *)0xe000e018;

uint32_t console_ticks(void) {
  return 0xffffff - *timer_value;
}

/* The stack is filled with this number before main; the deepest word that has changed tells how much was used. */
enum { UNTOUCHED = 0x5aa5c33c };

uint32_t console_stack_bytes(void) {
  const uint32_t *deepest = stack_bottom;
  while (*deepest == UNTOUCHED) {
    ++deepest;
  }
  return (uint32_t)((const unsigned char *)stack_top - (const unsigned char *)deepest);
}

static void fill_stack(void) {
  uint32_t *const in_use = (uint32_t *)__builtin_frame_address(0) - 16;
  for (volatile uint32_t *word = stack_bottom; word < in_use; ++word) {
    *word = UNTOUCHED;
  }
}

void reset(void) {
  volatile uint32_t *const coprocessor_access = (volatile uint32_t *)0xe000ed88;
  *coprocessor_access |= 0xfU << 20; /* the FPU */
  __asm__ volatile("dsb\n isb");
  for (uint32_t *to = data_start; to != data_end; ++to) {
    *to = data_image[to - data_start];
  }
  for (uint32_t *to = bss_start; to != bss_end; ++to) {
    *to = 0;
  }
  fill_stack();
  *timer_reload = 0xffffff;
  *timer_value = 0;
  *timer_control = 5;
  exit_with((uint32_t)main());
}
