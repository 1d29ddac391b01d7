#pragma once

namespace dsv3::terminal {

enum class Waited { kReadable, kTimeout, kWokenUp, kFailed };

/// Waits until there is something to read at `fd` (or its end), `milliseconds` at most (-1: for
/// ever), or for `wake_up`. A signal alone does not end it: another thread may have got it.
Waited wait_readable(int fd, int milliseconds);

/// Makes sure that a `wake_up` from now on ends the wait that is, or the next one.
void prepare_wake_up();

/// Ends a wait. For handlers of signals too.
void wake_up();

}  // namespace dsv3::terminal
