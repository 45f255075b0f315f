#include "query.h"

#include <iostream>

#include "error.h"

namespace aloha {

namespace {

void printRunNumbers(const std::vector<int> &numbers, bool silent)
{
    if (!silent)
        std::cout << "\nRun numbers:";
    for (const int number : numbers)
        std::cout << ' ' << number;
    std::cout << '\n';
}

void printRun(const RunConfig &run)
{
    std::cout << "Run " << run.attribute("runnumber") << ": " << run.description() << '\n';
}

void printEntries(const Entries &entries)
{
    for (const Entry &entry : entries)
        std::cout << '\t' << entry.key << " = " << entry.value << '\n';
}

void printRuns(const std::string &query, const Configuration &configuration, const std::vector<int> &numbers,
               bool silent)
{
    if (!silent)
        std::cout << '\n';
    bool first = true;
    for (const int number : numbers) {
        const RunConfig run = configuration.run(number);
        if (query != "runs" && !first)
            std::cout << '\n';
        first = false;
        printRun(run);
        if (query == "rundetails")
            printEntries(run.varyingEntries());
        if (query == "runconfig")
            printEntries(run.entries());
    }
}

}  // namespace

void answerQuery(const std::string &query, const Configuration &configuration,
                 const std::vector<int> &selected, bool silent)
{
    const int count = configuration.runCount();
    if (!silent) {
        std::cout << "\nConfig: " << configuration.name() << "\nNumber of runs: " << count << '\n';
        if (static_cast<int>(selected.size()) != count)
            std::cout << "Number of runs selected: " << selected.size() << '\n';
    }

    if (query == "runnumbers")
        printRunNumbers(selected, silent);
    else if (query == "runs" || query == "rundetails" || query == "runconfig")
        printRuns(query, configuration, selected, silent);
    else if (query != "numruns")
        throw Error("Unrecognized -q argument '" + query + "'");
    else if (silent)
        std::cout << count << '\n';
}

}  // namespace aloha
