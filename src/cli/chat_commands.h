#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/chat_session.h"

namespace dsv3::cli {

/// What /help shows.
extern const char* const kChatHelp;

/// The commands of a conversation: "/undo", "/set temperature 0.7" ...
class ChatCommands {
 public:
  /// `ask`: gets and shows the answer to a question.
  ChatCommands(ChatSession& session, std::function<void(const std::string& question)> ask)
      : session_(session), ask_(std::move(ask)) {}

  /// Whether an input is a command: a slash and a word of letters in front. "/usr/bin" is none.
  static bool is_command(const std::string& input);
  /// All of them, with the slash.
  static std::vector<std::string> names();

  /// Whether a command ends the conversation.
  static bool ends(const std::string& input);

  /// Runs a command. Throws Error.
  void run(const std::string& input);

 private:
  void system(const std::string& text);
  void undo();
  void retry();
  void save(const std::string& file);
  void load(const std::string& file);
  void set(const std::string& setting);
  void show_settings(const std::string& name) const;

  ChatSession& session_;
  std::function<void(const std::string&)> ask_;
};

}  // namespace dsv3::cli
