#include "ini_file.h"

#include <fstream>
#include <string_view>

#include "error.h"
#include "text.h"

namespace aloha {

namespace {

// A # inside double quotes belongs to the value.
std::string_view withoutComment(std::string_view line)
{
    bool quoted = false;
    for (size_t i = 0; i < line.size(); ++i) {
        if (line[i] == '"')
            quoted = !quoted;
        else if (line[i] == '#' && !quoted)
            return line.substr(0, i);
    }
    return line;
}

std::string sectionName(std::string_view heading)
{
    std::string_view name = trim(heading.substr(1, heading.size() - 2));
    if (startsWith(name, "Config "))
        name = trim(name.substr(7));
    return std::string(name);
}

Entry parseEntry(std::string_view line, const std::string &position)
{
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos)
        throw Error("Neither a section nor an assignment at " + position);
    return {std::string(trim(line.substr(0, equals))), std::string(trim(line.substr(equals + 1)))};
}

}  // namespace

void IniFile::read(const std::string &path)
{
    std::ifstream file(path);
    if (!file)
        throw Error("Cannot open ini file '" + path + "'");

    Section *section = nullptr;
    std::string text;
    for (int lineNumber = 1; std::getline(file, text); ++lineNumber) {
        const std::string_view line = trim(withoutComment(text));
        const std::string position = path + ":" + std::to_string(lineNumber);
        if (line.empty())
            continue;
        if (line.front() == '[' && line.back() == ']')
            section = &findOrAdd(sectionName(line));
        else if (section == nullptr)
            throw Error("Entry before the first section at " + position);
        else
            section->entries.push_back(parseEntry(line, position));
    }
}

const Section *IniFile::find(const std::string &name) const
{
    for (const Section &section : sections_)
        if (section.name == name)
            return &section;
    return nullptr;
}

Section &IniFile::findOrAdd(const std::string &name)
{
    for (Section &section : sections_)
        if (section.name == name)
            return section;
    return sections_.emplace_back(Section{name, {}});
}

}  // namespace aloha
