/* What is wrong with what the program was given, in one line that names it and the remedy. */
#ifndef ERROR_H
#define ERROR_H

#include <stdexcept>

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

#endif
