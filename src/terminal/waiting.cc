#include "terminal/waiting.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace dsv3::terminal {
namespace {

// A pipe to oneself: a byte in it is a wake-up that nobody has noticed yet.
std::atomic<int> pipe_in = -1, pipe_out = -1;

}  // namespace

void prepare_wake_up() {
  if (pipe_in.load() >= 0) return;
  int ends[2];
  if (pipe(ends) != 0) fail("pipe: {}", std::strerror(errno));
  for (const int end : ends) {
    fcntl(end, F_SETFL, O_NONBLOCK);
    fcntl(end, F_SETFD, FD_CLOEXEC);
  }
  pipe_out = ends[0];
  pipe_in = ends[1];
}

void wake_up() {
  const int before = errno;
  [[maybe_unused]] const ssize_t written = write(pipe_in.load(), "", 1);
  errno = before;
}

Waited wait_readable(int fd, int milliseconds) {
  struct pollfd waiting[] = {{fd, POLLIN, 0}, {pipe_out.load(), POLLIN, 0}};
  int ready = 0;
  do {
    ready = poll(waiting, 2, milliseconds);
  } while (ready < 0 && errno == EINTR);
  if (ready < 0) return Waited::kFailed;
  if (ready == 0) return Waited::kTimeout;
  if (waiting[1].revents == 0) return Waited::kReadable;
  char bytes[64];
  while (read(waiting[1].fd, bytes, sizeof(bytes)) > 0) {
  }
  return Waited::kWokenUp;
}

}  // namespace dsv3::terminal
