/* What the program asks of the board. It is yours to write. */
#ifndef BOARD_H
#define BOARD_H

#include <cstddef>
#include <cstdint>

/* Waits for the next `count` samples of the microphone, at the rate of the model's front end. */
void board_listen(int16_t* samples, size_t count);

/* Shows the most probable label and its probability. */
void board_show(const char* label, float probability);

/* Shows what is wrong, and does not return. */
[[noreturn]] void board_fail(const char* message);

#endif
