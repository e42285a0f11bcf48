/* All that the check program asks of the machine under it. */
#ifndef CONSOLE_H
#define CONSOLE_H

#include <stdint.h>

void console_write(const char* text);

/* Cycles of the processor's clock, 24 bits. */
uint32_t console_ticks(void);

/* The most bytes of stack that were in use until now. */
uint32_t console_stack_bytes(void);

#endif
