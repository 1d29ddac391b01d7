// `dsv3 chat` at a terminal: keys go in, and what a person would see comes out.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <regex>

#include "base/file.h"
#include "base/json.h"
#include "pseudo_terminal.h"

namespace dsv3 {
namespace {

namespace fs = std::filesystem;

const fs::path kStories = fs::path(DSV3_SOURCE_DIR) / "models/stories";

/// What the editor writes when it begins to read: the last answer is over.
const std::string kPrompt = "\x1b[?2004h";
const std::string kCtrlC = "\x03", kCtrlD = "\x04", kUp = "\x1b[A", kAltEnter = "\x1b\r";

/// The first number after `before` in a text.
int64_t number_after(const std::string& text, const std::string& before) {
  std::smatch match;
  if (!std::regex_search(text, match, std::regex(before + "([0-9]+)"))) return -1;
  return std::stoll(match[1]);
}

class ChatTerminalTest : public ::testing::Test {
 protected:
  ChatTerminalTest() {
    folder_ = fs::temp_directory_path() / ("dsv3_chat_" + std::to_string(getpid()));
    fs::create_directories(folder_);
    environment_ = {{"XDG_STATE_HOME", folder_.string()}};
  }
  ~ChatTerminalTest() override {
    terminal_.reset();
    fs::remove_all(folder_);
  }

  /// Starts a chat and waits for its first prompt.
  void start(const std::vector<std::string>& arguments = {}, const fs::path& model = kStories,
             const std::string& prompt = kPrompt) {
    std::vector<std::string> command = {DSV3_PROGRAM, "chat", model.string()};
    command.insert(command.end(), arguments.begin(), arguments.end());
    terminal_.emplace(command, environment_);
    terminal_->wait_for(prompt);
  }
  /// Types a line and gives all that comes until the next prompt.
  std::string enter(const std::string& line) {
    terminal_->type(line + "\r");
    return terminal_->wait_for(kPrompt);
  }
  void expect_end(int expected = 0) {
    int status = 0;
    terminal_->wait_for_end(status);
    ASSERT_TRUE(WIFEXITED(status)) << status;
    EXPECT_EQ(WEXITSTATUS(status), expected);
  }
  /// The messages of the conversation, by /save.
  Json messages() {
    const std::string file = (folder_ / "saved.json").string();
    enter("/save " + file);
    return read_json_file(file)["messages"];
  }

  fs::path folder_;
  std::map<std::string, std::string> environment_;
  std::optional<testing::PseudoTerminal> terminal_;
};

TEST_F(ChatTerminalTest, AnswersStreamAndCtrlCStopsThemAndNotTheProgram) {
  start({"--threads", "1", "--greedy", "--set", "eos_token_id=[]"});
  const int before = terminal_->reads();
  enter("Once upon a time");
  EXPECT_GE(terminal_->reads() - before, 10) << "the answer did not come piece by piece";

  // An answer has some 500 tokens; on a busy machine one may be over before the Ctrl-C comes.
  size_t length = 0;
  for (int attempt = 0; attempt < 5 && (length == 0 || length > 1000); ++attempt) {
    enter("/reset");
    terminal_->type("Once upon a time\r");
    terminal_->wait_for("\x1b[?2004l");  // the question is taken
    for (int i = 0; i < 8; ++i) terminal_->wait_for(" ");
    terminal_->type(kCtrlC);
    terminal_->wait_for(kPrompt);
    const Json stopped = messages();
    ASSERT_EQ(stopped.size(), 2u);
    length = stopped[1]["content"].get<std::string>().size();
  }
  EXPECT_GT(length, 8u) << "what came is kept";
  EXPECT_LT(length, 1000u) << "it was not stopped";

  terminal_->type("And then?\r");
  terminal_->wait_for("\x1b[?2004l");
  terminal_->wait_for(" ");
  terminal_->type(kCtrlC + kCtrlC);  // impatience ends nothing either
  terminal_->wait_for(kPrompt);
  EXPECT_EQ(messages().size(), 4u);
  terminal_->type("/quit\r");
  expect_end();
}

TEST_F(ChatTerminalTest, CtrlCWhileAQuestionIsReadForgetsItAndKeepsWhatWasRead) {
  start({"--threads", "1", "--prefill-chunk", "1", "-n", "1", "--stats"});
  std::string question;
  for (int i = 0; i < 230; ++i) question += "cat dog ";
  std::string shown;
  for (int attempt = 0; attempt < 5 && shown.find("forgotten") == std::string::npos; ++attempt) {
    enter("/reset");
    enter("Hello");  // the cache holds this and no part of the question
    terminal_->type(question + std::to_string(attempt) + "\r");
    terminal_->wait_for("\x1b[?2004l");
    usleep(50'000);
    terminal_->type(kCtrlC);
    shown = terminal_->wait_for(kPrompt);
  }
  EXPECT_NE(shown.find("stopped before the answer began: the question is forgotten"),
            std::string::npos);
  EXPECT_EQ(messages().size(), 2u);
  EXPECT_GT(number_after(enter(question), "tokens, "), 10) << "what was read is read again";
}

TEST_F(ChatTerminalTest, CtrlCAtThePromptDropsTheLineAndTellsHowToEnd) {
  start();
  terminal_->type("half a question" + kCtrlC);
  terminal_->wait_for(kPrompt);
  terminal_->type(kCtrlC);
  EXPECT_NE(terminal_->wait_for(kPrompt).find("Ctrl-D or /quit"), std::string::npos);
  EXPECT_NE(enter("/tokens").find("dsv3: 0 of 512 tokens"), std::string::npos);
  terminal_->type(kCtrlD);
  expect_end();
}

TEST_F(ChatTerminalTest, TheSecondTurnReadsOnlyItsOwnTokens) {
  start({"--greedy", "-n", "12", "--stats"});
  const std::string first = enter("Tell me a story");
  EXPECT_EQ(number_after(first, "tokens, "), 0);
  const std::string second = enter("And then?");
  const int64_t prompt = number_after(second, "prompt "), reused = number_after(second, "tokens, ");
  // All of the first turn but its last token, which no step has fed.
  EXPECT_EQ(reused, number_after(first, "prompt ") + 12 - 1);
  EXPECT_LT(prompt - reused, 10);
}

TEST_F(ChatTerminalTest, CommandsChangeTheConversation) {
  start({"-n", "8", "--seed", "3"});
  EXPECT_NE(enter("/undo").find("no question to go back to"), std::string::npos);
  enter("Hello");
  const Json first = messages();
  const int64_t tokens = number_after(enter("/tokens"), "dsv3: ");
  EXPECT_GT(tokens, 8 + 3);  // the answer, the marks of turns and the question
  EXPECT_LT(tokens, 20);
  enter("/retry");
  const Json other = messages();
  EXPECT_EQ(other[0], first[0]);
  EXPECT_NE(other[1], first[1]);
  EXPECT_NE(enter("/undo").find("forgotten: Hello"), std::string::npos);
  EXPECT_TRUE(messages().empty());

  EXPECT_NE(enter("/set temperature 0").find("always the most likely token"), std::string::npos);
  enter("Hello");
  const Json greedy = messages();
  enter("/retry");
  EXPECT_EQ(messages(), greedy);
  EXPECT_NE(enter("/set temperature hot").find("expected a number"), std::string::npos);
  EXPECT_NE(enter("/set temprature 1").find("unknown argument 'temprature'"), std::string::npos);
  EXPECT_NE(enter("/sett top_k 1").find("did you mean '/set'"), std::string::npos);
  EXPECT_NE(enter("/set").find("temperature"), std::string::npos);

  enter("/system Be brief.");
  EXPECT_EQ(messages()[0], (Json{{"role", "system"}, {"content", "Be brief."}}));
  EXPECT_NE(enter("/system").find("Be brief."), std::string::npos);
  enter("/reset");
  EXPECT_EQ(messages().size(), 1u);
  enter("/system -");
  EXPECT_TRUE(messages().empty());
  // A path is no command.
  enter("/usr/bin");
  EXPECT_EQ(messages()[0]["content"], "/usr/bin");
}

TEST_F(ChatTerminalTest, LoadRestoresWhatSaveWrote) {
  start({"-n", "8"});
  enter("A question");
  const Json saved = messages();
  fs::rename(folder_ / "saved.json", folder_ / "kept.json");
  enter("/reset");
  EXPECT_TRUE(messages().empty());
  EXPECT_NE(enter("/load " + (folder_ / "none.json").string()).find("none.json"),
            std::string::npos);
  EXPECT_TRUE(messages().empty());
  EXPECT_NE(enter("/load " + (folder_ / "kept.json").string()).find("2 messages loaded"),
            std::string::npos);
  EXPECT_EQ(messages(), saved);
}

TEST_F(ChatTerminalTest, TextOfManyLines) {
  start({"-n", "1"});
  const auto last_question = [this] {
    const Json all = messages();
    return all[all.size() - 2]["content"].get<std::string>();
  };
  enter("one" + kAltEnter + "two");
  EXPECT_EQ(last_question(), "one\ntwo");
  enter("\x1b[200~pasted\r\n\tand /undo\nin\x1b[201~ full");
  EXPECT_EQ(last_question(), "pasted\n\tand /undo\nin full");
  enter("a\\");
  enter("b");
  EXPECT_EQ(last_question(), "a\nb");
  enter("\"\"\"");
  enter("in a");
  enter("block");
  enter("\"\"\"");
  EXPECT_EQ(last_question(), "in a\nblock");
  enter("\"\"\"one line\"\"\"");
  EXPECT_EQ(last_question(), "one line");
}

TEST_F(ChatTerminalTest, HistoryIsKeptFromOneChatToTheNext) {
  start({"-n", "1"});
  enter("the first caf\xC3\xA9 \xE6\x97\xA5\xE6\x9C\xAC");
  terminal_->type("/quit\r");
  expect_end();
  environment_["LC_ALL"] = "C";  // editing does not depend on it
  start({"-n", "1"});
  enter("second");
  enter(kUp + kUp + "\x7F\xF0\x9F\x98\x80");
  EXPECT_EQ(messages()[2]["content"], "the first caf\xC3\xA9 \xE6\x97\xA5\xF0\x9F\x98\x80");
}

TEST_F(ChatTerminalTest, TheTerminalIsLeftAsItWas) {
  const auto same = [](const struct termios& a, const struct termios& b) {
    return a.c_lflag == b.c_lflag && a.c_iflag == b.c_iflag && a.c_oflag == b.c_oflag;
  };
  terminal_.emplace(std::vector<std::string>{"/bin/cat"}, environment_);
  const struct termios fresh = terminal_->settings();
  for (const int signal : {0, SIGTERM, SIGHUP, SIGABRT}) {
    start();
    terminal_->wait_for("> ");
    ASSERT_FALSE(same(terminal_->settings(), fresh));
    signal == 0 ? terminal_->type(kCtrlD) : terminal_->send_signal(signal);
    terminal_->wait_for("\x1b[?2004l");
    // The program's last act: wait for it without taking the terminal away.
    int status = 0;
    const struct termios* after = nullptr;
    struct termios now = {};
    for (int i = 0; i < 1000 && after == nullptr; ++i) {
      now = terminal_->settings();
      if (same(now, fresh)) after = &now;
      usleep(10'000);
    }
    EXPECT_NE(after, nullptr) << signal;
    terminal_->wait_for_end(status);
    EXPECT_EQ(signal == 0 ? WEXITSTATUS(status) : WTERMSIG(status), signal);
  }
}

TEST_F(ChatTerminalTest, SuspendedAndResumedItGoesOn) {
  start({"-n", "1"});
  terminal_->type("typed before\x1a");
  terminal_->wait_for("\x1b[?2004l");
  usleep(100'000);
  terminal_->send_signal(SIGCONT);
  terminal_->wait_for("typed before");
  enter(" and after");
  EXPECT_EQ(messages()[0]["content"], "typed before and after");
}

TEST_F(ChatTerminalTest, ADumbTerminalGetsNoEscapeSequences) {
  environment_["TERM"] = "dumb";
  start({"-n", "6", "--greedy"}, kStories, "> ");
  terminal_->type("Tell me\n");
  std::string seen = terminal_->wait_for("\n> ");
  terminal_->type("half a line" + kCtrlC);
  seen += terminal_->wait_for("\n> ");
  terminal_->type(kCtrlC);
  seen += terminal_->wait_for("/quit ends");
  terminal_->type("/tokens\n");
  seen += terminal_->wait_for(" of 512 tokens");
  terminal_->type("/undo\n");
  seen += terminal_->wait_for("forgotten: Tell me");
  terminal_->type(kCtrlD);
  EXPECT_EQ(seen.find('\x1b'), std::string::npos) << seen;
  expect_end();
}

TEST_F(ChatTerminalTest, TheEndOfTheContextIsAMessageAndNoCrash) {
  start({"--context", "40", "--set", "eos_token_id=[]", "--stats"});
  const std::string full = enter("Tell me a story");
  EXPECT_NE(full.find("the context is full, which ended the answer"), std::string::npos) << full;
  EXPECT_EQ(number_after(full, "prompt ") + number_after(full, "answer "), 40);
  EXPECT_NE(enter("And then?").find("the model's context is 40: /undo or /reset"),
            std::string::npos);
  EXPECT_EQ(messages().size(), 2u) << "a question that does not fit is not kept";
  enter("/reset");
  enter("/set max_new_tokens 3");
  EXPECT_NE(enter("Hello").find("cut off by max_new_tokens 3"), std::string::npos);
}

TEST_F(ChatTerminalTest, ANarrowWindowThatChangesKeepsTheText) {
  start({"-n", "1"});
  terminal_->resize(20, 5);
  std::string text;
  for (int i = 0; i < 60; ++i) text += "word" + std::to_string(i) + " ";
  terminal_->type(text);
  terminal_->wait_for("word59");
  terminal_->resize(33, 4);
  terminal_->type("\x01\xE6\x97\xA5 ");
  terminal_->resize(7, 2);
  enter("");
  EXPECT_EQ(messages()[0]["content"], "\xE6\x97\xA5 " + text);
}

/// A model whose prompt ends with <think>, and that says </think> in the place of each full stop.
class ThinkingChatTest : public ChatTerminalTest {
 protected:
  ThinkingChatTest() {
    model_ = folder_ / "model";
    fs::create_directories(model_);
    for (const char* file : {"config.json", "generation_config.json", "model.safetensors"}) {
      fs::create_symlink(kStories / file, model_ / file);
    }
    Json config = read_json_file(kStories / "tokenizer_config.json");
    config["chat_template"] = read_file(fs::path(DSV3_SOURCE_DIR) /
                                        "tests/golden-text/templates/deepseek-r1-official.jinja");
    write_file_atomically(model_ / "tokenizer_config.json", config.dump());

    Json tokenizer = read_json_file(kStories / "tokenizer.json");
    const Json id = tokenizer["model"]["vocab"]["."];
    tokenizer["model"]["vocab"].erase(".");
    tokenizer["model"]["vocab"]["</think>"] = id;
    Json merges = Json::array();
    for (const Json& merge : tokenizer["model"]["merges"]) {
      if (merge.dump().find('.') == std::string::npos) merges.push_back(merge);
    }
    tokenizer["model"]["merges"] = merges;
    tokenizer["added_tokens"].push_back({{"id", id},
                                         {"content", "</think>"},
                                         {"single_word", false},
                                         {"lstrip", false},
                                         {"rstrip", false},
                                         {"normalized", false},
                                         {"special", false}});
    write_file_atomically(model_ / "tokenizer.json", tokenizer.dump());
  }

  fs::path model_;
};

TEST_F(ThinkingChatTest, ReasoningIsDimmedAndKeptApart) {
  start({"--greedy", "-n", "60"}, model_);
  const std::string shown = enter("Hi");
  const Json answer = messages()[1];
  const std::string reasoning = answer.value("reasoning_content", "");
  const std::string content = answer.value("content", "");
  ASSERT_FALSE(reasoning.empty());
  ASSERT_FALSE(content.empty());
  EXPECT_EQ(reasoning.find("think>"), std::string::npos);
  const size_t dim = shown.find("\x1b[2m"), plain = shown.find("\x1b[0m");
  ASSERT_NE(dim, std::string::npos);
  ASSERT_NE(plain, std::string::npos);
  EXPECT_NE(shown.find(reasoning.substr(0, 10), dim), std::string::npos);
  EXPECT_LT(shown.find(reasoning.substr(0, 10)), plain);
  EXPECT_GT(shown.find(content.substr(0, 10)), plain);
}

TEST_F(ThinkingChatTest, TheNextPromptLeavesReasoningOut) {
  start({"--greedy", "-n", "60", "--stats"}, model_);
  const std::string first = enter("Hi");
  const Json answer = messages()[1];
  ASSERT_GT(answer["reasoning_content"].get<std::string>().size(), 10u);
  EXPECT_LT(number_after(enter("And?"), "prompt "),
            number_after(first, "prompt ") + number_after(first, "answer "));
}

TEST_F(ThinkingChatTest, ReasoningIsFoldedWhereAskedFor) {
  start({"--greedy", "-n", "60", "--hide-reasoning"}, model_);
  const std::string shown = enter("Hi");
  const Json answer = messages()[1];
  EXPECT_NE(shown.find("(thought for "), std::string::npos);
  EXPECT_EQ(shown.find(answer["reasoning_content"].get<std::string>().substr(0, 10)),
            std::string::npos);
  EXPECT_NE(shown.find(answer["content"].get<std::string>().substr(0, 10)), std::string::npos);
}

}  // namespace
}  // namespace dsv3
