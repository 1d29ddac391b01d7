#pragma once

#include "terminal/line_view.h"

namespace dsv3::terminal {

/// While one exists, a terminal gives each byte as it is typed, Ctrl-C included, and shows nothing
/// by itself. What it was before comes back also when a signal ends the program. One at a time.
class RawMode {
 public:
  /// `in`: where keys come from; `out`: where escape sequences go. Throws Error if `in` is no
  /// terminal.
  RawMode(int in, int out);
  ~RawMode();
  RawMode(const RawMode&) = delete;
  RawMode& operator=(const RawMode&) = delete;
};

/// While one exists, a signal that ends the program ends colours and the like on `out` first.
class StyleGuard {
 public:
  explicit StyleGuard(int out);
  ~StyleGuard();
  StyleGuard(const StyleGuard&) = delete;
  StyleGuard& operator=(const StyleGuard&) = delete;
};

/// Of the terminal at `fd`; 80 by 24 if it does not say.
ScreenSize screen_size(int fd);

/// Whether the environment says that the terminal knows no escape sequences.
bool is_dumb_terminal();

}  // namespace dsv3::terminal
