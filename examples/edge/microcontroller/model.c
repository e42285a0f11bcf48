/* The model's constants themselves. */
#define SATN_MODEL_IMPLEMENTATION
#include "satn_model.h"
