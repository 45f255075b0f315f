#include "cmdenv.h"

int main(int argc, char **argv)
{
    return aloha::runCmdenv({argv + 1, argv + argc});
}
