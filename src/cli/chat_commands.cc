#include "cli/chat_commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string_view>

#include "base/error.h"
#include "base/suggestion.h"
#include "cli/console.h"
#include "cli/generate_options.h"

namespace dsv3::cli {
namespace {

constexpr std::string_view kBlanks = " \t\n";

constexpr const char* kNames[] = {"/help", "/system", "/retry", "/undo",   "/reset", "/save",
                                  "/load", "/set",    "/quit",  "/tokens", "/exit"};

/// What /set shows by itself.
Json usual_settings(const GenerationConfig& c) {
  return {{"do_sample", c.do_sample},
          {"temperature", c.temperature},
          {"top_p", c.top_p},
          {"top_k", c.top_k},
          {"min_p", c.min_p ? Json(*c.min_p) : Json()},
          {"repetition_penalty", c.repetition_penalty},
          {"seed", c.seed},
          {"max_new_tokens", c.max_new_tokens ? Json(*c.max_new_tokens) : Json()},
          {"stop_strings", c.stop_strings}};
}

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(kBlanks) + 1 - begin);
}

const std::string& required(const std::string& argument, const char* usage) {
  if (argument.empty()) fail("expected {}", usage);
  return argument;
}

/// ~ and ~/file are in the user's home, as in a shell.
std::filesystem::path path_of(const std::string& file) {
  const char* home = std::getenv("HOME");
  if (home != nullptr && (file == "~" || file.starts_with("~/"))) return home + file.substr(1);
  return file;
}

/// As much of a text as fits into a line.
std::string shortened(const std::string& text) {
  constexpr size_t kLongest = 60;
  std::string line = text.substr(0, text.find('\n'));
  if (line.size() == text.size() && line.size() <= kLongest) return line;
  line.resize(std::min(line.size(), kLongest));
  while (!line.empty() && (static_cast<unsigned char>(line.back()) & 0xC0) == 0x80) line.pop_back();
  if (!line.empty() && static_cast<unsigned char>(line.back()) >= 0xC0) line.pop_back();
  return line + " ...";
}

}  // namespace

const char* const kChatHelp =
    "/help                what you are reading\n"
    "/system [TEXT]       replace the system message (- removes it); without TEXT, show it\n"
    "/retry               another answer to the last question\n"
    "/undo                forget the last question and its answer\n"
    "/reset               forget everything but the system message\n"
    "/save FILE           write the conversation, as JSON\n"
    "/load FILE           go on with a saved conversation\n"
    "/set [NAME VALUE]    a generation setting: /set temperature 0.7; without, show them\n"
    "/tokens              how much of the context is used\n"
    "/quit                end (so does Ctrl-D)\n"
    "A text of many lines: paste it, or Alt-Enter between lines, or \\ at a line's end, or \"\"\"\n"
    "before and after it. Ctrl-C stops an answer. Up and Ctrl-R find what you typed before.\n";

bool ChatCommands::is_command(const std::string& input) {
  if (input.size() < 2 || input[0] != '/') return false;
  const auto end = input.begin() + static_cast<std::ptrdiff_t>(
                                       std::min(input.find_first_of(kBlanks), input.size()));
  return std::all_of(input.begin() + 1, end, [](char c) { return c >= 'a' && c <= 'z'; });
}

std::vector<std::string> ChatCommands::names() { return {std::begin(kNames), std::end(kNames)}; }

bool ChatCommands::ends(const std::string& input) {
  const std::string name = input.substr(0, input.find_first_of(kBlanks));
  return name == "/quit" || name == "/exit";
}

void ChatCommands::run(const std::string& input) {
  const size_t blank = std::min(input.find_first_of(kBlanks), input.size());
  const std::string name = input.substr(0, blank), rest = trimmed(input.substr(blank));
  if (name == "/help") {
    write_err(kChatHelp);
  } else if (name == "/system") {
    system(rest);
  } else if (name == "/reset") {
    session_.reset();
    note("a new conversation");
  } else if (name == "/undo") {
    undo();
  } else if (name == "/retry") {
    retry();
  } else if (name == "/save") {
    save(rest);
  } else if (name == "/load") {
    load(rest);
  } else if (name == "/set") {
    set(rest);
  } else if (name == "/tokens") {
    note(fmt::format("{} of {} tokens", session_.tokens(), session_.context()));
  } else {
    fail("unknown command '{}'{}; /help shows what there is", name, suggestion(name, names()));
  }
}

void ChatCommands::system(const std::string& text) {
  if (text.empty()) {
    const std::string now = session_.system();
    note(now.empty() ? "no system message" : "the system message is: " + now);
    return;
  }
  session_.set_system(text == "-" ? "" : text);
  note(text == "-" ? "no system message" : "system message set");
}

void ChatCommands::undo() { note("forgotten: " + shortened(session_.undo())); }

void ChatCommands::retry() {
  const Json before = session_.messages();
  const std::string question = session_.undo();
  // Sampling again with the same seed would give the same answer.
  ++session_.config().seed;
  try {
    ask_(question);
  } catch (...) {
    session_.restore(before);
    throw;
  }
}

void ChatCommands::save(const std::string& file) {
  const std::filesystem::path path = path_of(required(file, "/save FILE"));
  session_.save(path);
  note(fmt::format("saved to {}", path.string()));
}

void ChatCommands::load(const std::string& file) {
  session_.load(path_of(required(file, "/load FILE")));
  const size_t n = session_.messages().size();
  note(fmt::format("{} message{} loaded", n, n == 1 ? "" : "s"));
}

void ChatCommands::set(const std::string& setting) {
  const size_t blank = std::min(setting.find_first_of(kBlanks), setting.size());
  const std::string name = setting.substr(0, blank), value = trimmed(setting.substr(blank));
  if (value.empty()) return show_settings(name);
  Json parsed = Json::parse(value, nullptr, false);
  if (parsed.is_discarded()) parsed = value;
  GenerationConfig changed = session_.config();
  apply_arguments(changed, {{name, parsed}}, "/set");
  if (changed.num_beams > 1 || changed.num_return_sequences > 1) {
    fail("/set: a chat has one answer: {} is not for it", name);
  }
  session_.config() = changed;
  note(fmt::format(
      "{} is {}{}", name, value,
      changed.do_sample || name != "temperature" ? "" : ": always the most likely token"));
}

void ChatCommands::show_settings(const std::string& name) const {
  Json shown = usual_settings(session_.config());
  if (!name.empty() && !shown.contains(name)) {
    GenerationConfig().apply(Json{{name, nullptr}}.dump(), "/set");  // throws for an unknown name
    const Json all = Json::parse(session_.config().to_json());
    shown[name] = all.value(name, Json("default"));
  }
  for (const auto& [key, value] : shown.items()) {
    if (name.empty() || key == name) {
      write_err(fmt::format("{:<20} {}", key, value.is_null() ? "not set" : value.dump()));
    }
  }
}

}  // namespace dsv3::cli
