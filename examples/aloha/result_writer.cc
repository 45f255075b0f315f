#include "result_writer.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iomanip>
#include <limits>
#include <sstream>
#include <utility>

#include "error.h"
#include "text.h"

namespace aloha {

namespace {

constexpr size_t blockSize = 64 * 1024;
constexpr int significantDigits = 14;

// Space for the fingerprint line of an index, which can only be written when all else is.
constexpr int fingerprintWidth = 64;

std::string quoted(const std::string &text)
{
    if (!text.empty() && text.find_first_of(" \t\"\\") == std::string::npos)
        return text;
    std::string result = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\')
            result += '\\';
        result += c;
    }
    return result + '"';
}

// The ini file may have the quotes already.
std::string quotedOnce(const std::string &text)
{
    const bool hasQuotes = text.size() >= 2 && text.front() == '"' && text.back() == '"';
    return hasQuotes ? text : quoted(text);
}

void appendInteger(std::string &text, std::int64_t number)
{
    char buffer[24];
    const auto result = std::to_chars(buffer, buffer + sizeof buffer, number);
    text.append(buffer, result.ptr);
}

// Whole numbers are common, and take a small fraction of the time of general ones.
void appendValue(std::string &text, double value)
{
    if (value == std::floor(value) && std::abs(value) < 1e14)
        appendInteger(text, static_cast<std::int64_t>(value));
    else
        text += formatNumber(value, significantDigits);
}

void writeRunHeader(std::ostream &file, const RunConfig &run)
{
    file << "version 3\nrun " << run.runId() << '\n';
    for (const auto &[name, value] : run.attributes())
        file << "attr " << name << ' ' << quoted(value) << '\n';
    Variables variables = run.iterationVariables();
    std::sort(variables.begin(), variables.end());
    for (const auto &[name, value] : variables)
        file << "itervar " << name << ' ' << quoted(value) << '\n';
    for (const Entry &entry : run.entries())
        file << "config " << entry.key << ' ' << quotedOnce(entry.value) << '\n';
    file << '\n';
}

void writeAttributes(std::ostream &file, const Attributes &attributes)
{
    for (const auto &[name, value] : attributes)
        file << "attr " << name << ' ' << quoted(value) << '\n';
}

std::string withSuffix(const std::string &fileName, const std::string &suffix)
{
    return fileName.substr(0, fileName.rfind('.')) + suffix;
}

void checkWritten(const std::ostream &file, const std::string &fileName)
{
    if (!file)
        throw Error("Cannot write file '" + fileName + "'");
}

}  // namespace

VectorWriter::VectorWriter(const std::string &vectorFile, const RunConfig &run, const Simulation &simulation)
    : simulation_(simulation), vectorFileName_(vectorFile), indexFileName_(withSuffix(vectorFile, ".vci")),
      vectorFile_(vectorFileName_), indexFile_(indexFileName_)
{
    std::ostringstream header;
    writeRunHeader(header, run);
    writeToBoth("", std::string(fingerprintWidth, ' ') + '\n');
    writeToBoth(header.str(), header.str());
}

int VectorWriter::addVector(const std::string &module, const std::string &name, const Attributes &attributes)
{
    const int id = static_cast<int>(blocks_.size());
    blocks_.emplace_back();
    std::ostringstream declaration;
    declaration << "vector " << id << ' ' << module << ' ' << quoted(name) << " ETV\n";
    writeAttributes(declaration, attributes);
    writeToBoth(declaration.str(), declaration.str());
    return id;
}

void VectorWriter::record(int vectorId, double value)
{
    Block &block = blocks_[vectorId];
    const size_t sizeBefore = block.text.size();
    appendLine(block.text, vectorId, value);
    bufferedSize_ += block.text.size() - sizeBefore;
    addToSummary(block, value);
    if (block.text.size() >= blockSize)
        writeBlock(vectorId);
}

void VectorWriter::appendLine(std::string &text, int vectorId, double value) const
{
    appendInteger(text, vectorId);
    text += '\t';
    appendInteger(text, static_cast<std::int64_t>(simulation_.eventNumber()));
    text += '\t';
    text += toString(simulation_.now());
    text += '\t';
    appendValue(text, value);
    text += '\n';
}

void VectorWriter::addToSummary(Block &block, double value) const
{
    if (block.count == 0) {
        block.firstEvent = simulation_.eventNumber();
        block.firstTime = simulation_.now();
        block.min = block.max = value;
    }
    block.lastEvent = simulation_.eventNumber();
    block.lastTime = simulation_.now();
    block.min = std::min(block.min, value);
    block.max = std::max(block.max, value);
    block.sum += value;
    block.squareSum += value * value;
    ++block.count;
}

void VectorWriter::writeBlock(int vectorId)
{
    const Block block = std::exchange(blocks_[vectorId], {});
    if (block.count == 0)
        return;
    std::ostringstream index;
    index << std::setprecision(significantDigits) << vectorId << '\t' << fileSize_ << ' '
          << block.text.size() << ' ' << block.firstEvent << ' ' << block.lastEvent << ' '
          << toString(block.firstTime) << ' ' << toString(block.lastTime) << ' ' << block.count << ' '
          << block.min << ' ' << block.max << ' ' << block.sum << ' ' << block.squareSum << '\n';
    writeToBoth(block.text, index.str());
    bufferedSize_ -= block.text.size();
}

void VectorWriter::writeToBoth(const std::string &vectorText, const std::string &indexText)
{
    vectorFile_ << vectorText;
    checkWritten(vectorFile_, vectorFileName_);
    fileSize_ += vectorText.size();
    indexFile_ << indexText;
    checkWritten(indexFile_, indexFileName_);
}

void VectorWriter::close()
{
    for (size_t id = 0; id < blocks_.size(); ++id)
        writeBlock(static_cast<int>(id));
    vectorFile_.close();
    checkWritten(vectorFile_, vectorFileName_);

    // Readers compare these two numbers with the vector file to see whether the index belongs to it.
    struct stat status{};
    stat(vectorFileName_.c_str(), &status);
    indexFile_.seekp(0);
    indexFile_ << "file " << status.st_size << ' ' << status.st_mtime;
    indexFile_.close();
    checkWritten(indexFile_, indexFileName_);
}

void Histogram::collect(size_t number)
{
    if (number >= counts_.size())
        counts_.resize(number + 1);
    ++counts_[number];
}

ScalarWriter::ScalarWriter(const std::string &scalarFile, const RunConfig &run)
    : fileName_(scalarFile), file_(scalarFile)
{
    file_ << std::setprecision(significantDigits);
    writeRunHeader(file_, run);
}

void ScalarWriter::parameter(const std::string &module, const std::string &name, const std::string &value)
{
    file_ << "par " << module << ' ' << name << ' ' << quoted(value) << '\n';
}

void ScalarWriter::scalar(const std::string &module, const std::string &name, double value,
                          const std::string &title)
{
    file_ << "scalar " << module << ' ' << quoted(name) << ' ' << value << '\n';
    writeAttributes(file_, {{"title", title}});
}

void ScalarWriter::histogram(const std::string &module, const std::string &name, const Histogram &histogram,
                             const std::string &title)
{
    file_ << "statistic " << module << ' ' << quoted(name) << '\n';
    writeFields(histogram);
    writeAttributes(file_, {{"title", title}});
    // A bin line holds the lower bound of the bin, and the count; the next line bounds it above.
    file_ << "bin\t-inf\t0\n";
    for (size_t number = 0; number < histogram.counts().size(); ++number)
        file_ << "bin\t" << number << '\t' << histogram.counts()[number] << '\n';
    file_ << "bin\t" << histogram.counts().size() << "\t0\n";
}

void ScalarWriter::writeFields(const Histogram &histogram)
{
    double count = 0, sum = 0, squareSum = 0;
    double min = std::numeric_limits<double>::quiet_NaN(), max = min;
    for (size_t number = 0; number < histogram.counts().size(); ++number) {
        const double times = static_cast<double>(histogram.counts()[number]);
        if (times == 0)
            continue;
        min = count == 0 ? static_cast<double>(number) : min;
        max = static_cast<double>(number);
        count += times;
        sum += times * max;
        squareSum += times * max * max;
    }
    const double mean = sum / count;
    const double variance = (squareSum - sum * mean) / (count - 1);
    file_ << "field count " << count << "\nfield mean " << mean << "\nfield stddev "
          << std::sqrt(variance) << "\nfield min " << min << "\nfield max " << max << "\nfield sum "
          << sum << "\nfield sqrsum " << squareSum << '\n';
}

void ScalarWriter::close()
{
    file_.close();
    checkWritten(file_, fileName_);
}

}  // namespace aloha
