#include "terminal/line_view.h"

#include <algorithm>

#include "terminal/width.h"

namespace dsv3::terminal {
namespace {

std::string move_up(size_t rows) { return rows == 0 ? "" : "\x1b[" + std::to_string(rows) + "A"; }
std::string to_column(int column) {
  return column == 0 ? "\r" : "\r\x1b[" + std::to_string(column) + "C";
}

constexpr const char* kClearBelow = "\x1b[J";

}  // namespace

Layout lay_out(std::string_view prompt, std::string_view continuation, std::string_view text,
               size_t cursor, int columns) {
  Layout layout;
  layout.rows.push_back({std::string(prompt), text_width(prompt)});
  const auto mark_cursor = [&](size_t at) {
    if (at != cursor) return;
    layout.cursor_row = layout.rows.size() - 1;
    layout.cursor_column = layout.rows.back().width;
  };
  for (size_t at = 0; at < text.size();) {
    if (text[at] == '\n') {
      mark_cursor(at++);
      layout.rows.push_back({std::string(continuation), text_width(continuation)});
      continue;
    }
    const size_t next = cluster_end(text, at);
    const std::string_view cluster = text.substr(at, next - at);
    const int width = text_width(cluster);
    if (layout.rows.back().width + width > columns) layout.rows.push_back({});
    mark_cursor(at);
    Layout::Row& row = layout.rows.back();
    row.text += cluster == "\t" ? std::string(kTabWidth, ' ') : std::string(cluster);
    row.width += width;
    at = next;
  }
  mark_cursor(text.size());
  if (layout.cursor_column >= columns) {
    // There is no column behind the last one. The cursor is before a line break or at the end.
    ++layout.cursor_row;
    layout.cursor_column = 0;
    layout.rows.insert(layout.rows.begin() + static_cast<std::ptrdiff_t>(layout.cursor_row),
                       Layout::Row{});
  }
  return layout;
}

// Rows that a smaller screen has broken, as terminals do, take more of them now.
std::string LineView::back_to_first_row(const ScreenSize& screen) const {
  size_t rows = cursor_row_;
  if (screen.columns != screen_.columns && screen.columns > 0) {
    rows = static_cast<size_t>(cursor_column_ / screen.columns);
    for (size_t i = 0; i < cursor_row_; ++i) {
      rows += static_cast<size_t>(std::max(1, (widths_[i] + screen.columns - 1) / screen.columns));
    }
  }
  return move_up(rows) + "\r" + kClearBelow;
}

std::string LineView::draw(const Layout& layout, const ScreenSize& screen) {
  std::string out = back_to_first_row(screen);
  const size_t height = static_cast<size_t>(std::max(1, screen.rows));
  const size_t shown = std::min(height, layout.rows.size());
  if (layout.cursor_row < first_) first_ = layout.cursor_row;
  if (layout.cursor_row >= first_ + shown) first_ = layout.cursor_row + 1 - shown;
  first_ = std::min(first_, layout.rows.size() - shown);

  widths_.clear();
  for (size_t i = first_; i < first_ + shown; ++i) {
    if (i > first_) out += "\r\n";
    out += layout.rows[i].text;
    widths_.push_back(layout.rows[i].width);
  }
  screen_ = screen;
  cursor_row_ = layout.cursor_row - first_;
  cursor_column_ = layout.cursor_column;
  return out + move_up(shown - 1 - cursor_row_) + to_column(cursor_column_);
}

std::string LineView::finish(const Layout& layout, const ScreenSize& screen) {
  std::string out = back_to_first_row(screen);
  for (const Layout::Row& row : layout.rows) out += row.text + "\r\n";
  forget();
  return out;
}

}  // namespace dsv3::terminal
