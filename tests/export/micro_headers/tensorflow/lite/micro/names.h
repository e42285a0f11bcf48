/* Where TFLite Micro's names stand. */
#ifndef NAMES_H
#define NAMES_H

#ifdef NAMES_IN_TFLITE
#define BEGIN_C_NAMES
#define END_C_NAMES
#define BEGIN_NAMES namespace tflite {
#define END_NAMES }
#else
#define BEGIN_C_NAMES namespace tflite::micro {
#define END_C_NAMES }
#define BEGIN_NAMES namespace tflite::micro {
#define END_NAMES }
#endif

#endif
