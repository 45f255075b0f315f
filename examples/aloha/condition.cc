#include "condition.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <string_view>

#include "error.h"
#include "text.h"

namespace aloha {

namespace {

// Evaluates while it parses, with one function per level of precedence. Both sides of && and || are
// always evaluated, since evaluating is also what finds the mistakes.
class Evaluator {
  public:
    Evaluator(const std::string &text, const Variables &variables)
        : text_(text), rest_(text), variables_(variables)
    {
    }

    bool evaluate()
    {
        const bool result = disjunction();
        skipBlanks();
        if (!rest_.empty())
            failToParse();
        return result;
    }

  private:
    bool disjunction()
    {
        bool result = conjunction();
        while (accept("||"))
            result = conjunction() || result;
        return result;
    }

    bool conjunction()
    {
        bool result = negation();
        while (accept("&&"))
            result = negation() && result;
        return result;
    }

    bool negation()
    {
        if (accept("!"))
            return !negation();
        if (!accept("("))
            return comparison();
        const bool result = disjunction();
        if (!accept(")"))
            failToParse();
        return result;
    }

    bool comparison()
    {
        const double left = operand();
        // The longer operators come first: "<=" also starts with "<".
        if (accept("<="))
            return left <= operand();
        if (accept("<"))
            return left < operand();
        if (accept(">="))
            return left >= operand();
        if (accept(">"))
            return left > operand();
        if (accept("=="))
            return left == operand();
        if (accept("!="))
            return left != operand();
        failToParse();
    }

    double operand()
    {
        const bool braced = accept("${");
        if (braced || accept("$")) {
            const double value = variable(takeWord());
            if (braced && !accept("}"))
                failToParse();
            return value;
        }
        return number();
    }

    double variable(const std::string &name) const
    {
        const std::string *value = findVariable(variables_, name);
        if (value == nullptr)
            throw Error("Unknown variable $" + name);
        double number = 0;
        if (!parseNumber(*value, number))
            throw Error("$" + name + " is '" + *value + "', which cannot be compared as a number");
        return number;
    }

    double number()
    {
        skipBlanks();
        const std::string digits(rest_);
        char *end = nullptr;
        const double value = std::strtod(digits.c_str(), &end);
        if (end == digits.c_str())
            failToParse();
        rest_.remove_prefix(end - digits.c_str());
        return value;
    }

    std::string takeWord()
    {
        const auto isWordCharacter = [](unsigned char c) { return std::isalnum(c) || c == '_'; };
        const auto end = std::find_if_not(rest_.begin(), rest_.end(), isWordCharacter);
        const std::string word(rest_.begin(), end);
        rest_.remove_prefix(word.size());
        return word;
    }

    bool accept(std::string_view token)
    {
        skipBlanks();
        if (!startsWith(rest_, token))
            return false;
        rest_.remove_prefix(token.size());
        return true;
    }

    void skipBlanks()
    {
        while (startsWith(rest_, " "))
            rest_.remove_prefix(1);
    }

    [[noreturn]] void failToParse() const
    {
        throw Error("Parse error in expression '" + text_ + "': syntax error");
    }

    const std::string &text_;
    std::string_view rest_;
    const Variables &variables_;
};

}  // namespace

bool evaluateCondition(const std::string &text, const Variables &variables)
{
    return Evaluator(text, variables).evaluate();
}

}  // namespace aloha
